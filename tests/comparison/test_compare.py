"""trl-real compare: plan, runs that are trained once, the choice of the rate, tables, and the committed studies."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from trl import GRPOConfig

from docs.results.studies import more
from tests.support.scripts import ROOT, write_recipe
from trl_real.cli import main
from trl_real.cli.compare import compare, parse, plan
from trl_real.comparison.measuring import count_samples, curves, split_held_out
from trl_real.comparison.methods import METHODS, apply_method
from trl_real.comparison.records import read_records
from trl_real.comparison.running import run_missing
from trl_real.comparison.study import chosen_runs, count_runs, make_study, plan_runs, read_studies


STUDIES = ROOT / "docs" / "results" / "studies"
PAGES = [ROOT / "docs/results.md", *STUDIES.parent.glob("*.md")]
NAMES = ("chain5", "smollm2", "reasoning")
RESULTS = " ".join(" ".join(page.read_text() for page in PAGES).split())
FAKE = ["tests.comparison.fake_run"]


def study(**fields: Any) -> Any:
    given = dict(methods=["real", "grpo"], learning_rates=[0.1, 0.2], seeds=[0, 1, 2]) | fields
    return make_study("mine", dict(tau=0.5, max_steps=2), METHODS, **given)


def write_study(folder: Path, **fields: Any) -> Path:
    """A study file on the tiny recipe of tests/support/scripts.py."""
    content = dict(recipe=str(folder / "recipe.yaml"), learning_rates=[0.01], seeds=[0])
    content["studies"] = {"first": dict(methods=["real", "mine"])}
    content["methods"] = {"mine": dict(method="grpo", loss_type="bnpo")}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content | fields))
    return path


def test_a_killed_comparison_of_two_methods_continues(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe, out = write_recipe(tmp_path, tau=0.3, save_merged=False, plot=True), tmp_path / "compared"
    words = ["--config", str(recipe), "--methods", "real,grpo", "--seeds", "1", "--max_steps", "2"]
    words += ["--output_dir", str(out)]
    command = [sys.executable, "-m", "trl_real", "compare", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as first:
        try:
            while not (out / "records.jsonl").exists() and first.poll() is None:
                time.sleep(0.1)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    [kept] = read_records(out / "records.jsonl")

    main(["compare", *words])
    printed = capsys.readouterr().out
    assert "real, grpo, each with learning rate 0.01 and seed 0" in printed and "2 runs, 1 of them done" in printed
    assert "grpo: loss_type grpo, epsilon 0.2; without tau" in printed
    assert "fields of the recipe are omitted: plot" in printed
    assert "4 choose the rate, 4 are reported" in printed and "[2/2] grpo, learning rate 0.01, seed 0" in printed
    real, grpo = read_records(out / "records.jsonl")
    assert real == kept and (real["method"], grpo["method"]) == ("real", "grpo")
    assert real["recipe"]["tau"] == 0.3 and "tau" not in grpo["recipe"] and real["versions"]["trl"]
    assert real["probe"]["step"] == [0, 2] and real["rollouts"] == 32 and real["test"] in [n / 16 for n in range(17)]
    assert real["trained_tokens"] <= real["sampled_tokens"] and grpo["trained_tokens"] == grpo["sampled_tokens"]
    assert "abs_score" in real["curve"] and "clip" in grpo["curve"] and real["seconds"] > 0
    log = json.loads(next(out.glob("runs/real-*/trainer_state.json")).read_text())["log_history"]
    rewards = [entry["eval_validation_reward"] for entry in log if "eval_validation_reward" in entry]
    assert real["validation"] == rewards[-1]
    assert not list(out.glob("runs/*/*.safetensors")) and not list(out.glob("runs/*/checkpoint-*"))
    tables = (out / "tables.md").read_text()
    assert f"| grpo | 0.01 | 1 | {grpo['test']:.3f} | {grpo['test'] - real['test']:+.3f} | 32 |" in tables
    assert "not resolved against real: grpo" in tables and "one seed has no interval" in tables
    assert (out / "recipe_methods.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_trained_once_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    records, lines = tmp_path / "records.jsonl", []
    failing = study(learning_rates=[0.1], seeds=[7, 0])
    failures = run_missing([failing], tmp_path, records, FAKE, lines.append)
    assert [line.split(",")[0] for line in failures] == ["real", "grpo"]
    assert "learning rate 0.1, seed 7: failed: error: no luck" in failures[0] and read_records(records) == []
    again = study(learning_rates=[0.1], seeds=[0, 1])
    assert run_missing([again], tmp_path, records, FAKE, lines.append) == [] and len(read_records(records)) == 4
    before = records.read_bytes()
    lines.clear()
    assert run_missing([again], tmp_path, records, FAKE, lines.append) == []
    assert lines == [] and records.read_bytes() == before
    run_missing([study(learning_rates=[0.1], seeds=[0], options=dict(max_steps=3))], tmp_path, records, FAKE, print)
    assert len(read_records(records)) == 6  # other settings are other runs


def test_only_validation_prompts_choose_the_learning_rate_of_later_seeds(tmp_path: Path) -> None:
    records, lines, mine = tmp_path / "records.jsonl", [], study()
    run_missing([mine], tmp_path, records, FAKE, lines.append)
    assert count_runs(mine) == len(lines) == 8 and lines[-1].startswith("[8/8]") and "about 0 min left" in lines[-1]
    later = [record for record in read_records(records) if record["seed"] > 0]
    # 0.2 is better on the validation prompts, and worse on those reported
    assert {(record["method"], record["learning_rate"]) for record in later} == {("real", 0.2), ("grpo", 0.2)}
    worse = [record | dict(validation=-1.0) for record in later]  # not of the sweep, so without a say
    swept = [record for record in read_records(records) if record["seed"] == 0]
    assert {run.learning_rate for run in chosen_runs(mine, swept + worse)} == {0.2}


def test_a_method_keeps_what_is_not_of_another_objective() -> None:
    recipe = dict(tau=0.1, beta=0.01, epsilon_high=0.3, max_steps=5, save_strategy="steps", learning_rate=1e-5)
    assert apply_method(recipe, METHODS["recipe"])[0] == dict(tau=0.1, beta=0.01, epsilon_high=0.3, max_steps=5)
    grpo, real = METHODS["grpo"], METHODS["real"]
    assert apply_method(recipe, grpo) == (dict(beta=0.01, max_steps=5) | grpo, ["tau", "epsilon_high"])
    assert apply_method(recipe, real) == (dict(tau=0.1, beta=0.01, max_steps=5) | real, ["epsilon_high"])


def test_held_out_prompts_are_split_alike_and_without_a_common_prompt() -> None:
    rows = Dataset.from_list([{"prompt": f"{number % 10}", "row": number} for number in range(20)])
    parts, again = split_held_out(rows, 3), split_held_out(rows, 3)
    assert {name: part["row"] for name, part in parts.items()} == {name: part["row"] for name, part in again.items()}
    validation, reported = ({*part["prompt"]} for part in parts.values())
    assert (len(validation), len(reported)) == (3, 7) and not validation & reported
    assert len({*split_held_out(rows, None)["validation"]["prompt"]}) == 5


def test_a_record_counts_what_was_sampled_and_averages_stretches_of_steps() -> None:
    log = [{"step": step, "reward": float(step)} for step in range(1, 61)] + [{"train_loss": 1.0, "step": 60}]
    # 60 steps in 30 stretches of two: (1 + 2) / 2 first, (59 + 60) / 2 last
    assert curves(log, 60)["reward"][0] == 1.5 and curves(log, 60)["reward"][-1] == 59.5
    assert curves(log[::2], 60)["reward"][:3] == [1.0, 3.0, 5.0] and list(curves(log, 60)) == ["reward"]
    args = GRPOConfig("unused", use_cpu=True, bf16=False, num_iterations=2, generation_batch_size=8, report_to="none")
    generations = [{"step": step, "completions/mean_length": 5.0, "trained/tokens": 0.5} for step in (1, 3)]
    assert count_samples(generations, args) == dict(rollouts=16, sampled_tokens=80, trained_tokens=80)
    assert count_samples(generations, args, until=2)["sampled_tokens"] == 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "real,grpoo"], "grpoo: is not a method. Did you mean `grpo`"),
        ([], "methods: recipe has none. Write one or more, such as real, grpo"),
        (["--methods", "real", "--learning_rates", "1e-6,fast"], "learning_rates: .*fast.* Write a list such as"),
        (["--methods", "real", "--learning_rate", "1e-6"], "learning_rate: .* Write --learning_rates"),
        (["--methods", "real", "--loss_type", "bce"], "loss_type: a comparison sets it"),
        (["--methods", "real", "--validation_prompts", "0"], "validation_prompts: 0 is not"),
        (["--methods", "real", "--validation_prompts", "8"], r"validation_prompts: 8 of 8 .*\(method real\)"),
        (["--methods", "real", "--metric", "accuracy"], "metric: accuracy .* Write one of reward, rewards/first_word"),
        (["--methods", "real,grpo", "--epsilon", "0.1"], r"epsilon: has no effect in REAL.*\(method real\)"),
        (["--methods", "real", "--max_step", "3"], "There is no option `--max_step`. Did you mean `max_steps`"),
        (["--methods", "real", "--report"], "records: .* has no record of these runs"),
    ],
)
def test_a_wrong_option_is_refused_before_training(tmp_path: Path, words: list[str], message: str) -> None:
    recipe = write_recipe(tmp_path)
    with pytest.raises(SystemExit, match=f"error: {message}"):
        main(["compare", "--config", str(recipe), "--output_dir", str(tmp_path / "out"), *words])
    assert not (tmp_path / "out" / "records.jsonl").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(studies={}), "studies: .* names none"),
        (dict(studies={"a": dict(methods=["real"], seed=[1])}), "seed: is not a field of study a. Did you mean"),
        (dict(methods={"mine": dict(loss_type="dapo")}), "methods: mine has no trainer"),
        (dict(recipe=None), "recipe: .* has none"),
        (dict(sweep_seeds=[4]), "sweep_seeds: 4 is not among seeds"),
        (dict(methods={"mine": dict(method="real", taw=1.0)}), r"there is no field `taw`.*\(method mine\)"),
    ],
)
def test_a_wrong_study_is_refused_before_training(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    write_recipe(tmp_path)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        main(["compare", "--study", str(write_study(tmp_path, **fields)), "--output_dir", str(tmp_path / "out")])


def test_a_study_may_define_methods_and_contain_older_ones(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_recipe(tmp_path)
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump({"older": dict(method="real", no_more=1)}))
    methods = {"first": dict(methods=["real", "mine", "older"], metric="rewards/first_word_is_even/mean")}
    [study] = read_studies(write_study(tmp_path, gone="gone.yaml", studies=methods), ROOT / "recipes")
    plan([study], tmp_path, tmp_path / "records.jsonl", [])
    assert "mine: loss_type bnpo" in capsys.readouterr().out and count_runs(study) == 2
    assert [run.fields["method"] for run in plan_runs(study, [0])] == ["real", "grpo"]
    *_, older = plan_runs(study, [0], with_gone=True)
    assert (older.method, older.fields["no_more"]) == ("older", 1) and "gone" not in older.fields


@pytest.mark.parametrize("name", [*NAMES, "choose"])
def test_committed_tables_are_those_of_the_records(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = STUDIES.parent
    words = ["--study", str(STUDIES / f"{name}.yaml"), "--records", str(results / f"{name}.jsonl"), "--report"]
    assert compare(*parse([*words, "--output_dir", str(tmp_path)])) == []
    monkeypatch.setattr(sys, "argv", ["more.py", name, "--output_dir", str(tmp_path)])
    more.main()
    assert (tmp_path / "tables.md").read_text() == (results / name / "tables.md").read_text()
    figures = {path.name for path in tmp_path.glob("*.png")}
    assert figures == {path.name for path in (results / name).glob("*.png")}
    assert all(f"{name}/{figure}" in RESULTS for figure in figures)


def test_the_page_has_the_range_of_costs_in_the_tables() -> None:
    ratios = []
    for name in NAMES:
        table, *_ = (STUDIES.parent / name / "tables.md").read_text().split("\n\n###")
        rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
        seconds = {row[0].removeprefix("| "): row[rows[0].index("CPU s")] for row in rows}
        ratios += [int(seconds["REAL"]) / int(seconds[other]) for other in ("GRPO", "DAPO")]
    assert f"at {min(ratios):.1f} to {max(ratios):.1f} of their CPU time" in RESULTS


def test_every_interval_that_the_pages_quote_is_in_a_table() -> None:
    pages = [path.read_text() for path in STUDIES.parent.glob("*/tables.md")]
    quoted = set(re.findall(r"[+-]?0\.\d{3} ± \d\.\d{3}", RESULTS))
    assert quoted and quoted <= {cell for page in pages for cell in re.split(r" \| |\n", page)}
