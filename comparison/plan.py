"""
What a comparison consists of: a YAML file of tasks, methods and studies -> cells, one training each.

In: the YAML file, and the records of what was trained. Out: the cells to train, and the records of every study;
`ValueError` for whatever is misspelt, missing or refused by a configuration.
"""

import dataclasses
import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from .records import Record, best_learning_rate, select


Cell = dict[str, Any]
Plan = dict[str, Any]

SECTIONS = ("scoring", "tasks", "common", "methods", "studies")
GONE = ("gone",)  # not needed: a file of methods whose options are gone, of which there are records alone
STUDY_FIELDS = ("title", "task", "methods", "learning_rates", "sweep_seeds", "seeds", "options", "level", "figures")
FIGURES = ("methods", "curves", "costs")
SCORING_FIELDS = ("validation_prompts", "test_prompts", "samples", "probe_prompts", "probe_steps")
PROBE_FIELDS = ("probe_test", "probe_samples")  # of scoring, not needed: score test prompts, several times each
CHAIN_FIELDS = ("model", "length", "teacher", "warm_up_steps", "anneal", "reward_noise")
CHAIN_REWARD = ("graded",)  # not needed: train on the share of a chain that is right; the last digit is scored
LANGUAGE_FIELDS = ("model", "lora", "dataset", "dataset_config", "training_prompts", "held_out_prompts")
LANGUAGE_FIELDS += ("template", "reward", "completion_tokens")


def read_plan(path: Path) -> Plan:
    """The YAML file, with the shape of every section checked; `ValueError` names what is wrong."""
    plan = yaml.safe_load(path.read_text())
    if not isinstance(plan, dict) or not plan.get("studies"):
        raise ValueError(f"studies: {path} must name at least one study.")
    check_names("a section", plan, SECTIONS, GONE)
    for name in SECTIONS:
        if name not in plan:
            raise ValueError(f"{name}: the section is missing in {path}.")
    check_names("a field of scoring", plan["scoring"], SCORING_FIELDS, PROBE_FIELDS, all_needed=True)
    if "gone" in plan:
        gone = yaml.safe_load((path.parent / plan["gone"]).read_text())
        plan["methods"] |= {name: method | {"gone": True} for name, method in gone.items()}
    for name, method in plan["methods"].items():
        if "trainer" not in method:
            raise ValueError(f"trainer: is missing in method {name}; write real, grpo or grpo_whole_groups.")
    for name, task in plan["tasks"].items():
        fields, optional = (LANGUAGE_FIELDS, ()) if "dataset" in task else (CHAIN_FIELDS, CHAIN_REWARD)
        check_names(f"a field of task {name}", task, fields, optional, all_needed=True)
        if task.get("graded") and task["reward_noise"]:
            raise ValueError(f"reward_noise: task {name} has graded rewards, which have no noise; write 0.0.")
    for name, study in plan["studies"].items():
        check_names(f"a field of study {name}", study, STUDY_FIELDS)
        for field in ("methods", "learning_rates", "seeds"):
            if not study.get(field):
                raise ValueError(f"{field}: study {name} needs at least one.")
        check_names(f"a method (study {name})", study["methods"], plan["methods"])
        check_names(f"a task (study {name})", [study.get("task")], plan["tasks"])
        check_names(f"a figure (study {name})", study.get("figures") or {}, FIGURES)
    return plan


def check_names(what: str, names: Any, known: Any, optional: Any = (), all_needed: bool = False) -> None:
    """`ValueError` for a name that is not known, with the nearest that is."""
    allowed = [*known, *optional]
    for name in names:
        if name not in allowed:
            close = difflib.get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(allowed)}."
            raise ValueError(f"{name}: is not {what}; {hint}")
    missing = [name for name in known if name not in names] if all_needed else []
    if missing:
        raise ValueError(f"{missing[0]}: is missing as {what}.")


def plan_cells(plan: Plan, study: str, seeds: list[int] | None = None, with_gone: bool = False) -> list[Cell]:
    """Every cell of a study, seed by seed, so that an interrupted study is even over methods; gone ones if wanted."""
    about, cells = plan["studies"][study], []
    for seed in seeds or about["seeds"]:
        for rate in about["learning_rates"]:
            for method in about["methods"]:
                own = dict(plan["methods"][method])
                if own.pop("gone", False) and not with_gone:
                    continue
                trainer = own.pop("trainer")
                options = plan["common"] | own | (about.get("options") or {})
                task = plan["tasks"][about["task"]] | plan["scoring"]
                cell = dict(study=study, method=method, learning_rate=float(rate), seed=seed, trainer=trainer)
                settings = settings_digest(trainer, options, task)
                cells.append(cell | dict(options=options, task=task, settings=settings))
    return cells


def chosen_cells(plan: Plan, study: str, records: list[Record]) -> list[Cell]:
    """The cells of the seeds after the sweep, each method at the learning rate that its validation prompts choose."""
    about = plan["studies"][study]
    rest = [seed for seed in about["seeds"] if seed not in sweep_seeds(about)]
    swept = [record for record in records if record["seed"] in sweep_seeds(about)]
    best = {
        method: best_learning_rate(select(swept, method=method))
        for method in about["methods"]
        if select(swept, method=method)
    }
    cells = plan_cells(plan, study, rest) if rest else []
    return [cell for cell in cells if cell["learning_rate"] == best.get(cell["method"])]


def sweep_seeds(study: dict[str, Any]) -> list[int]:
    """The seeds with which every learning rate is trained; by default all."""
    return study.get("sweep_seeds") or study["seeds"]


def settings_digest(trainer: str, options: dict[str, Any], task: dict[str, Any]) -> str:
    """What tells trainings with different settings apart; the same training may be in several studies."""
    task = {name: value for name, value in task.items() if name != "model"}
    return hashlib.sha256(json.dumps([trainer, options, task], sort_keys=True).encode()).hexdigest()[:12]


def check_cells(cells: list[Cell]) -> None:
    """Builds the configuration of every setting once, so that nothing in the YAML fails hours later."""
    from .cell import TRAINERS, build_config

    seen = set()
    for cell in cells:
        key = (cell["study"], cell["method"])
        if key in seen:
            continue
        seen.add(key)
        check_names("a trainer", [cell["trainer"]], TRAINERS)
        fields = [field.name for field in dataclasses.fields(TRAINERS[cell["trainer"]][1])]
        check_names(f"a field of {cell['method']}'s configuration", cell["options"], fields)
        build_config(cell, "unused")


def by_study(plan: Plan, records: list[Record]) -> dict[str, list[Record]]:
    """The records of every study that has any, in the order of the plan, under the study's names of the methods."""
    known = {(record["settings"], record["learning_rate"], record["seed"]): record for record in records}
    found: dict[str, list[Record]] = {}
    for cell in (cell for study in plan["studies"] for cell in plan_cells(plan, study, with_gone=True)):
        record = known.get((cell["settings"], cell["learning_rate"], cell["seed"]))
        if record:
            options = cell["options"]
            named = dict(method=cell["method"], tau=None if "score_clip" in options else options.get("tau"))
            found.setdefault(cell["study"], []).append(record | named)
    for name, mine in found.items():
        mine.sort(key=lambda record, name=name: plan["studies"][name]["methods"].index(record["method"]))
    return found
