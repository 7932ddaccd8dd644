"""recipes/evaluate.py: from models and problems to tables, over processes, kills, full disks and bad input."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

from tests.support.full_disk import longest_file
from tests.support.math_run import tiny_model, write_math_run
from tests.support.scripts import ROOT, load_script, write_recipe
from trl_real.evaluation.sampling.store import SampleStore, find_stores
from trl_real.evaluation.sampling.writing import read_lines
from trl_real.recipe.held_out import load_held_out


script = load_script("evaluate")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, which answers some questions, and `eval.parquet` with 30 of them."""
    folder = tmp_path_factory.mktemp("run")
    write_math_run(folder)
    return folder


def words(folder: Path, output: Path, *more: str, models: tuple[str, ...] = ("model",)) -> list[str]:
    command = ["--models", *(str(folder / model) for model in models), "--benchmarks", str(folder / "eval.parquet")]
    command += ["--output", str(output), "--samples", "4", "--max_new_tokens", "8", "--batch_size", "8"]
    return [*command, *more]


def all_samples(output: Path) -> list[dict[str, Any]]:
    return [sample for store in find_stores(output) for sample in store.samples()]


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text())


@pytest.fixture(scope="module")
def evaluated(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the 30 questions, without interruption."""
    output = tmp_path_factory.mktemp("whole")
    script.main(words(run_folder, output))
    return output


def test_the_tables_say_what_the_samples_are(run_folder: Path, evaluated: Path) -> None:
    samples = all_samples(evaluated)
    assert [(sample["problem"], sample["sample"]) for sample in samples] == [
        (n, k) for n in range(30) for k in range(4)
    ]
    # the questions' answers are 1 and 2 in turn
    right = [
        sample["text"].split("</think>", 1)[1:] != [] and
        re.findall(r"boxed\{(\d)\}", sample["text"].split("</think>", 1)[1])[-1:] == [str(sample["problem"] % 2 + 1)]
        for sample in samples
    ]  # fmt: skip
    found = results(evaluated)["models"][str(run_folder / "model")]["sets"]["eval"]
    assert 0 < sum(right) < 120
    assert found["right"] == [sum(right[start : start + 4]) for start in range(0, 120, 4)]
    assert found["estimates"]["pass@1"]["value"] == pytest.approx(sum(right) / 120)
    cut = sum(sample["truncated"] for sample in samples)
    assert found["estimates"]["truncated"]["value"] == pytest.approx(cut / 120)
    verdicts = read_lines(next(evaluated.glob("*/eval/verdicts.jsonl")))
    assert [verdict["right"] for verdict in verdicts] == right
    table = (evaluated / "table.md").read_text()
    value, low, high = (found["estimates"]["pass@1"][name] for name in ("value", "low", "high"))
    assert f"| {value:.3f} [{low:.3f}, {high:.3f}] |" in table
    assert "| 30 x 4 " in table


def test_two_processes_share_the_work_and_make_what_one_makes(
    run_folder: Path, evaluated: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["recipes/evaluate.py", *words(run_folder, tmp_path)]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-6000:]
    assert all_samples(tmp_path) == all_samples(evaluated)
    assert (tmp_path / "table.md").read_text() == (evaluated / "table.md").read_text()
    assert results(tmp_path) == results(evaluated)
    parts = [read_lines(next(tmp_path.glob(f"*/eval/samples-{rank}.jsonl"))) for rank in (0, 1)]
    keys = [(sample["problem"], sample["sample"]) for chunks in parts for chunk in chunks for sample in chunk]
    assert all(parts)
    assert len(keys) == len(set(keys)) == 120
    assert run.stdout.count("Wrote ") == 1


def test_a_run_that_was_killed_goes_on_and_samples_nothing_twice(
    run_folder: Path, evaluated: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "recipes/evaluate.py", *words(run_folder, tmp_path)]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (written := list(tmp_path.glob("*/eval/samples-0.jsonl"))) or not written[0].read_bytes().count(b"\n"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    before = written[0].read_bytes()
    there = before[: before.rindex(b"\n") + 1]
    assert 1 <= there.count(b"\n") < 15
    assert not (tmp_path / "table.md").exists()
    script.main(words(run_folder, tmp_path))
    assert written[0].read_bytes().startswith(there)
    assert sum(len(chunk) for chunk in read_lines(written[0])) == 120
    assert all_samples(tmp_path) == all_samples(evaluated)


def test_nothing_is_sampled_where_nothing_is_missing(
    run_folder: Path, evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = (evaluated / "table.md").read_text()
    monkeypatch.setattr("trl_real.evaluation.sampling.filling.Respondent", None)  # no model can be loaded
    script.main(words(run_folder, evaluated))
    script.main(["--report", "--output", str(evaluated)])
    assert before in capsys.readouterr().out
    script.main(["--report", "--output", str(evaluated), "--require_think", "false"])
    free = results(evaluated)["models"][str(run_folder / "model")]["sets"]["eval"]
    script.main(["--report", "--output", str(evaluated)])
    strict = results(evaluated)["models"][str(run_folder / "model")]["sets"]["eval"]
    assert free["estimates"]["no_answer"]["value"] < strict["estimates"]["no_answer"]["value"]
    assert (evaluated / "table.md").read_text() == before


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on_when_there_is_room(
    run_folder: Path, evaluated: Path, tmp_path: Path
) -> None:
    size = next(evaluated.glob("*/eval/samples-0.jsonl")).stat().st_size
    script.main(words(run_folder, tmp_path, "--limit", "1"))  # the prompts and a first chunk, before the disk is full
    problems = next(tmp_path.glob("*/eval/problems.jsonl")).read_text()
    with (
        longest_file(100),
        pytest.raises(SystemExit, match=r"error: Could not write .*problems\.jsonl: File too large"),
    ):
        script.main(words(run_folder, tmp_path))
    assert next(tmp_path.glob("*/eval/problems.jsonl")).read_text() == problems
    with longest_file(size - 1000), pytest.raises(SystemExit, match=r"error: Could not write .*samples-0.*kept"):
        script.main(words(run_folder, tmp_path))
    assert 4 < len(all_samples(tmp_path)) < 120
    with longest_file(size + 1000), pytest.raises(SystemExit, match=r"error: Could not write .*verdicts\.jsonl.*kept"):
        script.main(words(run_folder, tmp_path))
    assert "| 1 x 4 " in (tmp_path / "table.md").read_text()  # the former table
    script.main(words(run_folder, tmp_path))
    assert len(all_samples(tmp_path)) == 120
    assert not list(tmp_path.rglob(".*"))


def test_models_are_compared_on_the_same_problems(run_folder: Path, tmp_path: Path) -> None:
    """A model, its copy, and an adapter on it that changes nothing yet: equal, so every difference is 0."""
    adapted = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules="all-linear"))
    adapted.peft_config["default"].base_model_name_or_path = str(run_folder / "model")
    adapted.save_pretrained(run_folder / "adapter")
    models = ("model", "adapter")
    script.main(words(run_folder, tmp_path, "--limit", "10", models=models))
    first, second = find_stores(tmp_path)
    assert list(first.stored()) == list(second.stored())
    assert "+0.000 [+0.000, +0.000]" in (tmp_path / "table.md").read_text()
    found = results(tmp_path)
    assert found["first_model"] == str(run_folder / "model")
    assert found["models"][str(run_folder / "adapter")]["difference"]["eval"]["high"] == 0
    script.main(
        ["--report", "--output", str(tmp_path), "--models", *(str(run_folder / name) for name in models[::-1])]
    )
    assert results(tmp_path)["first_model"] == str(run_folder / "adapter")


def test_a_report_leaves_out_what_is_not_finished(run_folder: Path, tmp_path: Path) -> None:
    script.main(words(run_folder, tmp_path, "--limit", "3"))
    store = find_stores(tmp_path)[0]
    (store.folder / "settings.json").write_text(json.dumps(store.settings | {"samples": 5}))
    with pytest.raises(SystemExit, match="error: output: no set is finished. Left out, 3 of 15 samples are missing"):
        script.main(["--report", "--output", str(tmp_path)])


def test_a_recipe_is_evaluated_on_its_held_out_set_with_its_rewards(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, temperature=0.8)
    output = tmp_path / "eval"
    script.main(["--config", str(recipe), "--output", str(output)])
    store = find_stores(output)[0]
    how = store.settings["sampling"]
    assert (how["temperature"], how["top_p"], how["max_new_tokens"], store.settings["samples"]) == (0.8, 1.0, 4, 4)
    assert (len(store.problems), store.set) == (8, "recipe")
    starts = {f"w{number}" for number in range(0, 60, 2)}
    right = [bool(starts & set(sample["text"].split()[:1])) for sample in store.samples()]
    found = results(output)["models"][str(tmp_path / "model")]["sets"]["recipe"]
    assert 0 < sum(right) < 32
    assert found["estimates"]["pass@1"]["value"] == found["estimates"]["reward"]["value"] == sum(right) / 32


def test_a_recipe_with_an_evaluation_set_does_not_read_its_training_set(tmp_path: Path) -> None:
    write_math_run(tmp_path, questions=30)
    fields = {"dataset_name": "nowhere/at-all.parquet", "eval_dataset_name": str(tmp_path / "eval.parquet")}
    fields |= {"eval_dataset_split": "train", "dataset_format": "math", "reward_funcs": "math_reward_think_boxes"}
    recipe = write_recipe(tmp_path, weights=False, test_size=None, **fields)
    held_out = load_held_out(str(recipe), recipe.parent)
    assert len(held_out.problems.prompts) == 30
    assert held_out.judge == {"require_think": True, "adjacent_boxes": True}
    assert held_out.settings["models"] == [str(tmp_path / "model")]


def test_the_quickstart_is_evaluated_as_it_evaluates_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    held_out = load_held_out("quickstart.yaml", ROOT / "recipes")
    assert len(held_out.problems.prompts) == 48
    wanted = {"temperature": 1.0, "max_new_tokens": 3, "samples": 4, "top_p": 1.0}
    assert held_out.settings.items() >= wanted.items()
    assert held_out.judge["reward_funcs"] == ["first_integer_reward"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--benchmarks aime42", "benchmarks: aime42 is none of aime24, .*Did you mean `aime2"),
        ("--benchmarks {folder}/empty.jsonl", "benchmarks: .*empty.jsonl is an empty file"),
        ("--benchmarks aime24 --data {folder}", "benchmarks: aime24: .*there is no file or folder .*aime.parquet"),
        ("--models nowhere/at-all", "models: there is no folder nowhere/at-all"),
        ("--models {folder}", r"models: .*holds neither config.json nor .*Did you mean .*/\w+\?"),
        ("--models {folder}/plain", "models: the tokenizer of .*/plain has no chat template.*--prompt_format plain"),
        ("--models {folder}/model {folder}/model", "models: one is named twice"),
        ("--max_new_tokens 8192", "max_new_tokens: .* has 2048 positions, .*Write --max_new_tokens 20"),
        ("--temperature -1", "temperature: -1.0 is not 0 or more"),
        ("--temperature 0", "samples: with temperature 0 all of them are the same; write --samples 1"),
        ("--samples 0", "samples: 0 is not a number from 1 on"),
        ("--vllm_gpu_memory_utilization 40", "vllm_gpu_memory_utilization: 40.0 is not a share"),
        pytest.param(
            "--backend vllm",
            "backend: vLLM is not installed",
            marks=pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="it is installed"),
        ),
        ("--chat_template_kwargs [", "chat_template_kwargs: .*write JSON"),
        ("--config quickstart.yaml", "benchmarks, require_think: with --config, the recipe has them"),
        ("--tempratur 1", "no option `--tempratur`. Did you mean `temperature`"),
        ("--report", "output: there are no samples in"),
    ],
)
def test_bad_input_ends_in_one_clear_line_and_nothing_is_written(
    run_folder: Path, tmp_path: Path, more: str, message: str
) -> None:
    (run_folder / "empty.jsonl").write_text("")
    plain = run_folder / "plain"
    if not plain.exists():
        tiny_model().config.save_pretrained(plain)
        tokenizer = script.find_model(str(run_folder / "model")).load_tokenizer()
        tokenizer.chat_template = None
        tokenizer.save_pretrained(plain)
    output = tmp_path / "out"
    with pytest.raises(SystemExit) as error:
        script.main(words(run_folder, output) + more.format(folder=run_folder).split())
    assert re.match(f"error: .*{message}", str(error.value), flags=re.DOTALL)
    assert not output.exists()


def test_a_base_model_without_chat_template_is_asked_in_plain_text(run_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(run_folder / "model", tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    command = words(tmp_path, tmp_path / "out", "--limit", "2", "--prompt_format", "plain", models=("base",))
    command[command.index("--benchmarks") + 1] = str(run_folder / "eval.parquet")
    script.main(command)
    [store] = find_stores(tmp_path / "out")
    assert store.problems[1]["prompt"].startswith("Question 1: how much is 1 + 1? Let's think step by step")
    assert len(store.samples()) == 8


def test_a_misspelt_recipe_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(SystemExit, match="error: config: there is no file quikstart.yaml.*mean `quickstart.yaml`"):
        script.main(["--config", "quikstart.yaml"])


def test_a_report_names_what_it_does_not_have(evaluated: Path) -> None:
    with pytest.raises(SystemExit, match="error: benchmarks: .* has no samples of aime24, only of eval"):
        script.main(["--report", "--output", str(evaluated), "--benchmarks", "aime24"])


def test_weights_that_cannot_be_read_are_named(run_folder: Path, tmp_path: Path) -> None:
    tiny_model().config.save_pretrained(tmp_path / "bare")
    script.find_model(str(run_folder / "model")).load_tokenizer().save_pretrained(tmp_path / "bare")
    with pytest.raises(SystemExit, match="error: models: cannot load .*bare: "):
        script.main([*words(run_folder, tmp_path / "out"), "--models", str(tmp_path / "bare")])
    assert not SampleStore(next(tmp_path.glob("out/*/eval"))).samples()
