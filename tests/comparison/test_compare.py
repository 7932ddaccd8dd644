"""comparison/compare.py: cells are trained once, a failure stops nothing else, the end is a table and a figure."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from comparison import cell as compare_cell
from comparison import chain, compare, tasks
from comparison import plan as compare_plan
from tests.support.scripts import ROOT


def write_plan(folder: Path, methods: dict[str, dict[str, Any]], **fields: Any) -> Path:
    """A comparison of 2 optimizer steps on chains of 2 operations."""
    study = dict(title="Two steps", task="chain2", methods=[*methods], learning_rates=[1e-3], seeds=[0], level=0.01)
    study["figures"] = dict(methods=True, curves=["REAL"], costs=True)
    task = dict(
        model=str(folder / "chain2"),
        length=2,
        teacher=[0.9, 0.6, 0.5],
        warm_up_steps=60,
        anneal=False,
        reward_noise=0.2,
    )
    common = dict(use_cpu=True, bf16=False, max_steps=2, num_generations=4, per_device_train_batch_size=8)
    common |= dict(steps_per_generation=2, gradient_accumulation_steps=1, max_grad_norm=1.0, temperature=1.0)
    scoring = dict(validation_prompts=8, test_prompts=8, samples=2, probe_prompts=4, probe_steps=1)
    plan = dict(scoring=scoring, tasks={"chain2": task}, common=common, methods=methods, studies={"main": study})
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan | fields))
    return path


def study(**fields: Any) -> dict[str, Any]:
    return {"main": dict(task="chain2", methods=["REAL"], learning_rates=[1e-3], seeds=[0]) | fields}


REAL, GRPO = dict(trainer="real", tau=0.5), dict(trainer="grpo", loss_type="grpo")


def test_cells_are_trained_once_and_a_failure_stops_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    words = ["--output_dir", str(output)]
    broken = REAL | dict(top_k=-5)  # no configuration refuses it, but no model can sample with it
    both = write_plan(tmp_path, {"REAL": REAL, "GRPO": GRPO})
    [cell, _] = compare_plan.plan_cells(compare_plan.read_plan(both), "main")
    half_written = compare.record_path(output, cell).with_suffix(".part")
    half_written.parent.mkdir(parents=True)
    half_written.write_text('{"test": 0.')

    with pytest.raises(SystemExit, match="Broken, lr 0.001, seed 0: failed: ValueError"):
        compare.main(["--config", str(write_plan(tmp_path, {"Broken": broken, "REAL": REAL, "GRPO": GRPO})), *words])
    records = {path: path.stat().st_mtime_ns for path in output.glob("cells/*.json")}
    assert len(records) == 2 and not half_written.exists()
    assert "3 cells, 0 of them done" in capsys.readouterr().out

    compare.main(["--config", str(write_plan(tmp_path, {"REAL": REAL, "GRPO": GRPO})), *words])
    assert "2 cells, 2 of them done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in records} == records
    lines = [json.loads(line) for line in (output / "cells.jsonl").read_text().splitlines()]
    real, grpo = sorted(lines, key=lambda record: record["method"], reverse=True)
    assert (real["method"], grpo["method"]) == ("REAL", "GRPO")
    assert real["probe"]["step"] == [0, 1, 2] and 0 <= real["test"] <= 1
    assert 0 < real["trained_tokens"] <= real["sampled_tokens"] == grpo["trained_tokens"]
    assert "abs_score" in real["curve"] and "clip" in grpo["curve"]
    tables = (output / "tables.md").read_text()
    assert (
        tables.startswith("### Two steps") and tables.count("\n| ") == 11
    )  # twice head, rule, two rows; head, rule, REAL's row
    for kind in ("methods", "curves", "costs"):
        assert (output / f"main_{kind}.png").read_bytes().startswith(b"\x89PNG")

    (output / "tables.md").unlink()
    compare.main(["--config", str(tmp_path / "plan.yaml"), "--report", str(output / "cells.jsonl"), *words])
    assert (output / "tables.md").read_text() == tables


def test_a_cell_of_another_base_model_is_not_taken(tmp_path: Path) -> None:
    [cell] = compare_plan.plan_cells(compare_plan.read_plan(write_plan(tmp_path, {"REAL": REAL})), "main")
    path = compare.record_path(tmp_path, cell)
    path.parent.mkdir()
    path.write_text(json.dumps(dict(base="first")))
    assert compare.is_done(tmp_path, cell | dict(base="first"))
    with pytest.raises(ValueError, match="another"):
        compare.is_done(tmp_path, cell | dict(base="second"))


def test_seeds_after_the_sweep_take_the_learning_rate_that_it_chose(tmp_path: Path) -> None:
    about = study(methods=["REAL", "GRPO"], learning_rates=[1e-4, 1e-3], sweep_seeds=[0], seeds=[0, 1, 2])
    plan = compare_plan.read_plan(write_plan(tmp_path, {"REAL": REAL, "GRPO": GRPO}, studies=about))
    assert len(compare_plan.plan_cells(plan, "main", compare_plan.sweep_seeds(plan["studies"]["main"]))) == 4
    swept = [
        dict(method=method, learning_rate=rate, seed=0, validation=validation)
        for method, rate, validation in (
            ("REAL", 1e-4, 0.5),
            ("REAL", 1e-3, 0.3),
            ("GRPO", 1e-4, 0.1),
            ("GRPO", 1e-3, 0.2),
        )
    ]
    later = swept + [dict(method="REAL", learning_rate=1e-3, seed=1, validation=0.9)]  # not of the sweep: not read
    chosen = [
        (cell["method"], cell["learning_rate"], cell["seed"])
        for cell in compare_plan.chosen_cells(plan, "main", later)
    ]
    assert chosen == [("REAL", 1e-4, 1), ("GRPO", 1e-3, 1), ("REAL", 1e-4, 2), ("GRPO", 1e-3, 2)]


def test_methods_whose_options_are_gone_are_reported_and_not_trained(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump({"Older": REAL | dict(no_more=1)}))
    about = study(methods=["REAL", "Older"])
    plan = compare_plan.read_plan(write_plan(tmp_path, {"REAL": REAL}, studies=about, gone="gone.yaml"))
    trained, all_cells = (compare_plan.plan_cells(plan, "main", with_gone=gone) for gone in (False, True))
    compare_plan.check_cells(trained)
    assert [cell["method"] for cell in trained] == ["REAL"] and "gone" not in all_cells[1]["options"]
    numbers = dict(learning_rate=1e-3, seed=0, validation=0.5)
    records = [dict(settings=cell["settings"], **numbers) for cell in all_cells]
    assert [record["method"] for record in compare_plan.by_study(plan, records)["main"]] == ["REAL", "Older"]
    assert compare_plan.chosen_cells(plan, "main", compare_plan.by_study(plan, records)["main"]) == []


def test_training_prompts_are_held_out_and_the_same_for_every_method(tmp_path: Path) -> None:
    options = dict(length=3, validation_prompts=30, test_prompts=30, reward_noise=0.0)
    task, again = tasks.load_task(options), tasks.load_task(options)
    assert (len(task.validation), len(task.test)) == (30, 30)
    assert (task.validation, task.test) == (again.validation, again.test)
    drawn = [{row["prompt"] for row in rows} for rows in (task.validation, task.test, task.draw(3, 200))]
    assert len(set.union(*drawn)) == sum(map(len, drawn)) and task.draw(3, 200) == again.draw(3, 200)


def test_graded_chains_train_on_the_share_that_is_right_and_score_the_last_digit() -> None:
    options = dict(length=3, validation_prompts=2, test_prompts=2, reward_noise=0.0)
    plain, graded = tasks.load_task(options), tasks.load_task(options | dict(graded=True))
    assert (plain.test, plain.draw(0, 4)) == (graded.test, graded.draw(0, 4))
    columns = {name: [value] * 2 for name, value in graded.draw(0, 1)[0].items()}
    right = columns["values"][0]
    wrong_start = str((int(right[0]) + 1) % 10) + right[1:]
    answers = dict(columns, prompts=columns.pop("prompt"), completions=[right, wrong_start])
    assert graded.reward(**answers) == pytest.approx([1.0, 2 / 3])
    assert graded.right(**answers) == plain.reward(**answers) == plain.right(**answers) == [1.0, 1.0]


def test_a_language_task_asks_the_quickstarts_questions_in_its_own_words() -> None:
    plan = compare_plan.read_plan(ROOT / "comparison" / "studies" / "smollm2.yaml")
    task = tasks.load_task(plan["tasks"]["arithmetic"] | plan["scoring"])
    train = task.draw(0, 8)
    held_out = {row["prompt"] for row in [*task.validation, *task.test]}
    assert len(held_out) == 48 and not held_out & {row["prompt"] for row in train}
    assert all(row["prompt"].startswith("3*2=6\n") and row["prompt"].count("\n") == 1 for row in train)
    row = train[0]
    assert task.reward(
        prompts=[row["prompt"]] * 2, completions=[f"{row['answer']}\n", "no"], answer=[row["answer"]] * 2
    ) == [1.0, 0.0]


def test_a_task_of_reasoning_gym_is_asked_as_it_words_its_questions() -> None:
    pytest.importorskip("reasoning_gym", reason="needs reasoning-gym")
    plan = compare_plan.read_plan(ROOT / "comparison" / "studies" / "reasoning.yaml")
    options = plan["tasks"]["sums"] | plan["scoring"]
    task, again = tasks.load_task(options), tasks.load_task(options)
    train = task.draw(0, 8)
    assert (task.validation, task.test, train) == (again.validation, again.test, again.draw(1, 8))
    asked = [row["prompt"] for row in [*task.validation, *task.test, *train]]
    assert len(set(asked)) == len(asked) == 32 + 32 + 500
    for row in [*task.test, *train]:
        first, sign, second = re.fullmatch(r"State [a-z ]+: (\d\d) ([+-]) (\d\d) =", row["prompt"]).groups()
        assert int(row["answer"]) == int(first) + int(f"{sign}{second}")
    row = task.test[0]
    columns = {name: [value] * 3 for name, value in row.items() if name != "prompt"}
    texts = [f" {row['answer']}\n", f" {row['answer']}0", " x"]
    assert task.reward(prompts=[row["prompt"]] * 3, completions=texts, **columns) == [1.0, 0.0, 0.0]
    own = tasks.load_task(options | dict(reward="reasoning_gym_reward"))
    assert own.reward(prompts=[row["prompt"]] * 3, completions=[row["answer"], "7", "x"], **columns)[0] == 1.0
    with pytest.raises(ValueError, match="held_out_prompts: 63 are fewer than the 64"):
        tasks.load_task(options | dict(held_out_prompts=63))


def test_a_noisy_verifier_errs_at_its_rate_and_always_on_the_same() -> None:
    prompts = [f"{index}+1=" for index in range(2000)]
    texts, answers = ["5"] * 2000, ["5"] * 2000
    reward = tasks.noisy(chain.last_digit_reward, 0.2)
    rewards = reward(prompts=prompts, completions=texts, answer=answers)
    assert rewards == reward(prompts=prompts, completions=texts, answer=answers)
    assert sum(rewards) / 2000 == pytest.approx(0.8, abs=0.03)


def test_a_curve_is_a_mean_over_stretches_of_steps() -> None:
    log = [{"step": step, "reward": float(step)} for step in range(1, 61)] + [{"train_loss": 1.0, "step": 60}]
    # 60 steps in 30 stretches of two: (1 + 2) / 2 first, (59 + 60) / 2 last
    assert compare_cell.curves(log, 60)["reward"][0] == 1.5 and compare_cell.curves(log, 60)["reward"][-1] == 59.5
    assert compare_cell.curves(log[::2], 60)["reward"][:3] == [1.0, 3.0, 5.0]
    assert list(compare_cell.curves(log, 60)) == ["reward"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(studies={}), "studies: .* at least one study"),
        (dict(studies=study(methods=["REEL"])), "REEL: is not a method .* did you mean REAL"),
        (dict(studies=study(seeds=[])), "seeds: study main needs at least one"),
        (dict(studies=study(learning_rates=None)), "learning_rates: study main needs at least one"),
        (dict(studies=study(task="chain3")), "chain3: is not a task"),
        (
            dict(studies=study(learning_rate=[1e-3])),
            "learning_rate: is not a field of study main; did you mean learning_rates",
        ),
        (dict(study=study()), "study: is not a section; did you mean studies"),
        (
            dict(methods={"REAL": REAL | dict(taw=1.0)}),
            "taw: is not a field of REAL's configuration; did you mean tau",
        ),
        (dict(methods={"REAL": REAL | dict(tau=-1.0)}), "`tau` must be"),
        (dict(methods={"REAL": dict(trainer="reel")}), "reel: is not a trainer"),
        (dict(methods={"REAL": dict(tau=0.5)}), "trainer: is missing"),
        (
            dict(tasks={"chain2": dict.fromkeys(compare_plan.CHAIN_FIELDS, 0.2) | dict(graded=True)}),
            "reward_noise: task chain2 has graded rewards",
        ),
        (dict(scoring=dict(samples=2)), "validation_prompts: is missing"),
    ],
)
def test_a_wrong_plan_is_named_before_anything_is_trained(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    path = write_plan(tmp_path, **dict(methods={"REAL": REAL}) | fields)
    with pytest.raises(SystemExit, match=f"error: {message}"):
        compare.main(["--config", str(path), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "chain2").exists()


@pytest.mark.parametrize("name", ["chain5", "smollm2", "reasoning"])
def test_the_committed_plans_are_right(name: str) -> None:
    plan = compare_plan.read_plan(ROOT / "comparison" / "studies" / f"{name}.yaml")
    compare_plan.check_cells([cell for name in plan["studies"] for cell in compare_plan.plan_cells(plan, name)])


def test_the_committed_tables_are_what_the_committed_records_give(tmp_path: Path) -> None:
    results, studies = ROOT / "docs" / "results", ROOT / "comparison" / "studies"
    text, intervals = " ".join((ROOT / "docs" / "results.md").read_text().split()), set()
    for name in ("chain5", "smollm2", "reasoning"):
        words = ["--report", str(results / f"{name}.jsonl"), "--output_dir", str(tmp_path / name)]
        compare.main(["--config", str(studies / f"{name}.yaml"), *words])
        committed = (results / name / "tables.md").read_text()
        assert (tmp_path / name / "tables.md").read_text() == committed
        figures = {path.name for path in (tmp_path / name).glob("*.png")}
        assert figures == {path.name for path in (results / name).glob("*.png")}
        assert all(f"results/{name}/{figure}" in text for figure in figures)
        rows = [line.split(" | ") for line in committed.splitlines() if line.startswith("| ")]
        intervals |= {cell for row in rows for cell in row if " ± " in cell}
    quoted = set(re.findall(r"[+-]?0\.\d{3} ± \d\.\d{3}", text))
    assert quoted and quoted <= intervals
