"""What is compared: a recipe or a YAML file of studies becomes runs, one training each."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..recipe.words import read_recipe
from ..spelling import nearest
from .methods import FIXED, METHODS, Fields, apply_method
from .records import Record, best_learning_rate, key_of, select


SECTIONS = ("recipe", "methods", "gone", "studies")
NEEDED = ("methods", "learning_rates", "seeds")
TABLES = ("short", "full")


@dataclass(frozen=True)
class Study:
    """Methods that are compared on one recipe; without defaults here, a field must be given."""

    name: str
    recipe: Fields
    methods: dict[str, Fields]  # fields of each; the first is the one that others are compared with
    learning_rates: list[float]
    seeds: list[int]
    sweep_seeds: list[int] = field(default_factory=list)  # trained at every rate; by default the first
    title: str = ""
    label: str = ""  # what figures call the metric
    options: Fields = field(default_factory=dict)  # replace fields of the recipe
    words: list[str] = field(default_factory=list)  # of a command line, which do so too
    metric: str = "reward"  # or rewards/<function>/mean
    validation_prompts: int | None = None  # held-out prompts that choose the rate; by default half
    figure: bool = True
    table: str = "short"  # or full

    @property
    def swept(self) -> list[int]:
        """Seeds that are trained at every rate; one is enough where there is one rate."""
        return self.sweep_seeds or self.seeds[:1]

    @property
    def trainable(self) -> list[str]:
        """Methods whose options this version has."""
        return [name for name, own in self.methods.items() if not own.get("gone")]


@dataclass(frozen=True)
class Run:
    """One training: `fields` are its recipe, and `settings` tells runs with other fields apart."""

    study: Study
    method: str
    learning_rate: float
    seed: int
    fields: Fields
    settings: str

    @property
    def key(self) -> tuple[str, float, int]:
        """As [`key_of`] its record."""
        return self.settings, self.learning_rate, self.seed

    def __str__(self) -> str:
        return f"{self.method}, learning rate {self.learning_rate:g}, seed {self.seed}"


def plan_runs(study: Study, seeds: Iterable[int], with_gone: bool = False) -> list[Run]:
    """Every method and rate with these seeds; seed by seed, so that an interrupted comparison is even over methods."""
    recipe = study.recipe | study.options
    fields = {name: apply_method(recipe, own)[0] for name, own in study.methods.items()}
    fields = {name: {key: value for key, value in own.items() if key != "gone"} for name, own in fields.items()}
    about = [study.words, study.metric, study.validation_prompts]
    return [
        Run(study, method, rate, seed, FIXED | fields[method], _digest([fields[method], *about]))
        for seed in seeds
        for rate in study.learning_rates
        for method in (study.methods if with_gone else study.trainable)
    ]


def _digest(settings: list[Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def chosen_runs(study: Study, records: list[Record]) -> list[Run]:
    """The runs of the seeds after the sweep, each method at the rate that its validation prompts choose."""
    swept = [record for record in records if record["seed"] in study.swept]
    mine = {method: select(swept, method=method) for method in study.trainable}
    best = {method: best_learning_rate(runs) for method, runs in mine.items() if runs}
    runs = plan_runs(study, [seed for seed in study.seeds if seed not in study.swept])
    return [run for run in runs if run.learning_rate == best.get(run.method)]


def count_runs(study: Study) -> int:
    """How many runs a study has."""
    later = len([seed for seed in study.seeds if seed not in study.swept])
    return len(study.trainable) * (len(study.swept) * len(study.learning_rates) + later)


def records_of(study: Study, records: list[Record]) -> list[Record]:
    """The records of a study, method by method, under the study's names of the methods."""
    known = {key_of(record): record for record in records}
    runs = [run for run in plan_runs(study, study.seeds, with_gone=True) if run.key in known]
    runs.sort(key=lambda run: [*study.methods].index(run.method))
    return [
        known[run.key] | dict(method=run.method, tau=None if "score_clip" in run.fields else run.fields.get("tau"))
        for run in runs
    ]


def read_studies(path: Path, recipes: Path, wanted: Collection[str] = (), **changes: Any) -> list[Study]:
    """The studies of a YAML file, or the wanted ones; `changes` are fields that replace those of every study."""
    if not path.is_file():
        raise ValueError(f"study: there is no file {path}. Write the path of a YAML file with `recipe` and `studies`.")
    content = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("studies") or None, dict):
        raise ValueError(f"studies: {path} names none. Write `studies:`, and below it a name with its fields.")
    shared_fields = [name for name in Study.__dataclass_fields__ if name not in (*SECTIONS, "name", "words")]
    _check_names(f"field of {path}", content, [*SECTIONS, *shared_fields])
    methods = METHODS | (content.get("methods") or {})
    if "gone" in content:
        gone = yaml.safe_load((path.parent / content["gone"]).read_text("utf-8"))
        methods |= {name: own | {"gone": True} for name, own in gone.items()}
    for name, own in methods.items():
        if own and own.get("method") not in ("real", "grpo"):
            raise ValueError(f"methods: {name} has no trainer. Write `method: real` or `method: grpo` in it.")
    recipe = content.get("recipe")
    if isinstance(recipe, str):
        recipe, _, _ = read_recipe(["--config", recipe], recipes)
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe: {path} has none. Write the name of a recipe, its path, or its fields.")
    _check_names("study", wanted, content["studies"])
    shared = {name: content[name] for name in shared_fields if name in content}
    studies = []
    for name in wanted or content["studies"]:
        own = content["studies"][name] or {}
        _check_names(f"field of study {name}", own, [*shared_fields, "methods"])
        studies.append(make_study(name, recipe, methods, **(shared | own | changes)))
    return studies


def make_study(name: str, recipe: Fields, known: dict[str, Fields], **fields: Any) -> Study:
    """A study with its fields checked; `methods` are names of `known` methods."""
    for needed in NEEDED:
        if not fields.get(needed):
            raise ValueError(f"{needed}: {name} has none. Write one or more, such as {_EXAMPLES[needed]}.")
    for listed, kind in (("methods", str), ("learning_rates", float), ("seeds", int), ("sweep_seeds", int)):
        values = fields.get(listed) or []
        try:
            fields[listed] = list(dict.fromkeys(map(kind, values if isinstance(values, list) else [values])))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{listed}: {error}. Write a list such as {listed}: [{_EXAMPLES[listed]}].") from error
    _check_names("method", fields["methods"], known)
    _check_names("table", [fields.get("table", "short")], TABLES)
    if wrong := [rate for rate in fields["learning_rates"] if not 0 < rate < 1]:
        raise ValueError(f"learning_rates: {wrong[0]:g} is not between 0 and 1. Write rates such as 1e-6.")
    if wrong := [seed for seed in fields["sweep_seeds"] if seed not in fields["seeds"]]:
        raise ValueError(f"sweep_seeds: {wrong[0]} is not among seeds. Write some of {fields['seeds']}.")
    number = fields.get("validation_prompts")
    if number is not None and (not isinstance(number, int) or number < 1):
        raise ValueError(f"validation_prompts: {number} is not a number of prompts. Write 1 or more.")
    fields["methods"] = {method: known[method] for method in fields["methods"]}
    return Study(name, recipe, **fields)


_EXAMPLES = dict(methods="real, grpo", learning_rates="1e-6, 2e-6", seeds="0, 1, 2", sweep_seeds="0")


def _check_names(what: str, names: Iterable[Any], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{name}: is not a {what}.{nearest(str(name), known)} Write one of {', '.join(known)}.")
