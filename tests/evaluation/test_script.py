"""recipes/evaluate.py: from models and problems to tables, over kills, full disks and bad input."""

import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from inspect_ai.log import EvalSample, read_eval_log
from peft import LoraConfig, get_peft_model

from tests.evaluation.kills import logged_samples, texts
from tests.support.full_disk import longest_file
from tests.support.math_run import tiny_model, write_math_run
from tests.support.scripts import ROOT, load_script, write_recipe
from trl_real.evaluation.engine.logs import find_logs
from trl_real.evaluation.engine.models import find_model
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


def all_samples(output: Path) -> list[EvalSample]:
    """By model, problem and number."""
    samples = [read_eval_log(log.header.location).samples for log in find_logs(output)]
    return [sample for each in samples for sample in sorted(each, key=lambda sample: (sample.id, sample.epoch))]


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
    assert [(sample.id, sample.epoch) for sample in samples] == [(n, k) for n in range(1, 31) for k in range(1, 5)]
    kinds = [len({each.output.completion for each in samples[start : start + 4]}) for start in range(0, 120, 4)]
    assert max(kinds) == 4 and sum(kinds) > 60  # each sample of a problem draws for itself
    # the questions' answers are 1 and 2 in turn
    answers = [sample.output.completion.split("</think>", 1)[1:] for sample in samples]
    wanted = [str((sample.id - 1) % 2 + 1) for sample in samples]
    right = [
        answer != [] and re.findall(r"boxed\{(\d)\}", answer[0])[-1:] == [gold]
        for answer, gold in zip(answers, wanted, strict=True)
    ]
    found = results(evaluated)["models"][str(run_folder / "model")]["sets"]["eval"]
    assert 0 < sum(right) < 120
    assert found["right"] == [sum(right[start : start + 4]) for start in range(0, 120, 4)]
    assert found["estimates"]["pass@1"]["value"] == pytest.approx(sum(right) / 120)
    cut = sum(sample.output.stop_reason == "max_tokens" for sample in samples)
    assert 0 < cut and found["estimates"]["truncated"]["value"] == pytest.approx(cut / 120)
    lengths = [sample.output.usage.output_tokens for sample in samples]
    assert set(lengths) <= set(range(1, 9)) and found["estimates"]["tokens"]["value"] == pytest.approx(
        sum(lengths) / 120
    )
    assert [sample.scores["verdict"].value == 1 for sample in samples] == right
    boxes = [sample.scores["verdict"].answer for sample in samples if sample.scores["verdict"].value == 1]
    assert set(boxes) <= {"1", "2"} and {sample.target[0] for sample in samples} == {"1", "2"}
    table = (evaluated / "table.md").read_text()
    value, low, high = (found["estimates"]["pass@1"][name] for name in ("value", "low", "high"))
    assert f"| {value:.3f} [{low:.3f}, {high:.3f}] |" in table
    assert "| 30 x 4 " in table


def test_without_inspect_the_command_says_what_to_install_and_training_never_needs_it(
    run_folder: Path, tmp_path: Path
) -> None:
    hidden = "import sys; sys.modules['inspect_ai'] = None; import importlib.util as u; "
    hidden += "u.find_spec = lambda name, find=u.find_spec: None if name == 'inspect_ai' else find(name); "
    code = hidden + "import trl_real.cli.train, trl_real.recipe.held_out; from trl_real.cli.evaluate import main; "
    run = subprocess.run(
        [sys.executable, "-c", code + f"main({words(run_folder, tmp_path / 'out')!r})"],
        cwd=ROOT,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and not (tmp_path / "out").exists()
    assert "error: evaluating needs Inspect AI. Run: pip install 'trl-real[evaluate]'" in run.stderr


def test_several_processes_are_refused_before_anything_is_done(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="error: start the evaluation as one process.*all visible GPUs"):
        script.main(words(run_folder, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_killed_goes_on_and_counts_nothing_twice(
    run_folder: Path, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "buffer"))
    command = [sys.executable, "recipes/evaluate.py", *words(run_folder, tmp_path)]
    command[command.index("--batch_size") + 1] = "2"
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (there := logged_samples(tmp_path)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < there < 120 and not (tmp_path / "table.md").exists()
    with pytest.raises(SystemExit, match="error: output: no set is finished. Left out: .*model on eval"):
        script.main(["--report", "--output", str(tmp_path)])
    script.main([*words(run_folder, tmp_path), "--batch_size", "2"])
    assert texts(tmp_path) == texts(evaluated)
    assert results(tmp_path)["models"] == results(evaluated)["models"]
    assert len(list(tmp_path.glob("*/*.eval"))) == 1


def test_nothing_is_sampled_where_nothing_is_missing(
    run_folder: Path, evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = (evaluated / "table.md").read_text()
    monkeypatch.setattr("trl_real.evaluation.engine.running.get_model", None)  # no model can be loaded
    script.main(words(run_folder, evaluated))
    script.main(["--report", "--output", str(evaluated)])
    assert before in capsys.readouterr().out
    script.main(["--report", "--output", str(evaluated), "--require_think", "false"])
    free = results(evaluated)["models"][str(run_folder / "model")]["sets"]["eval"]
    script.main(["--report", "--output", str(evaluated)])
    strict = results(evaluated)["models"][str(run_folder / "model")]["sets"]["eval"]
    assert free["estimates"]["no_answer"]["value"] < strict["estimates"]["no_answer"]["value"]
    assert free["settings"]["judge"] == {"require_think": False}
    assert (evaluated / "table.md").read_text() == before


def test_the_logs_are_shown_in_a_browser_or_written_as_pages(
    run_folder: Path, evaluated: Path, tmp_path: Path
) -> None:
    script.main(["--report", "--output", str(evaluated), "--bundle", str(tmp_path / "pages")])
    assert "<html" in (tmp_path / "pages" / "index.html").read_text()
    [log] = (tmp_path / "pages").rglob("*.eval")
    assert log.read_bytes() == next(evaluated.glob("*/*.eval")).read_bytes()
    command = [sys.executable, "recipes/evaluate.py", "--report", "--output", str(evaluated), "--view"]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), INSPECT_VIEW_PORT="7599")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said = b""
        while b"http://" not in said:
            assert process.poll() is None, said
            said += process.stdout.readline()
        address = re.search(rb"http://[\w.:]+", said)[0].decode()
        with urllib.request.urlopen(f"{address}/api/logs", timeout=60) as reply:
            assert log.name in reply.read().decode()
    finally:
        process.kill()
        process.communicate()


def test_samples_that_were_judged_by_another_rule_are_judged_anew(run_folder: Path, tmp_path: Path) -> None:
    def judged(output: Path, *more: str) -> dict[str, Any]:
        script.main(words(run_folder, output, *more))
        return results(output)["models"][str(run_folder / "model")]["sets"]["eval"]

    judged(tmp_path, "--limit", "10")
    free = judged(tmp_path, "--limit", "20", "--require_think", "false")  # half of them were judged by the former rule
    strict = judged(tmp_path, "--limit", "20")
    assert free["estimates"]["no_answer"]["value"] < strict["estimates"]["no_answer"]["value"]
    assert free == judged(tmp_path / "at once", "--limit", "20", "--require_think", "false")


def test_more_samples_and_problems_take_over_those_that_are_there_and_fewer_lose_none(
    run_folder: Path, evaluated: Path, tmp_path: Path
) -> None:
    script.main(words(run_folder, tmp_path, "--limit", "6", "--samples", "2"))
    first = {(each.id, each.epoch): each.uuid for each in all_samples(tmp_path)}
    assert set(first) == {(n, k) for n in range(1, 7) for k in (1, 2)}
    script.main(words(run_folder, tmp_path, "--limit", "3", "--samples", "4"))
    assert "| 3 x 4 " in (tmp_path / "table.md").read_text()
    script.main(words(run_folder, tmp_path))
    whole = {(each.id, each.epoch): each.uuid for each in all_samples(tmp_path)}
    assert len(whole) == 120 and whole.items() >= first.items()
    assert texts(tmp_path) == texts(evaluated)
    script.main(words(run_folder, tmp_path, "--limit", "5"))
    assert "| 5 x 4 " in (tmp_path / "table.md").read_text() and len(all_samples(tmp_path)) == 120


def test_samples_that_were_made_otherwise_are_not_mixed_in(run_folder: Path, evaluated: Path, tmp_path: Path) -> None:
    Dataset.from_list([{"problem": "Another?", "answer": "1", "solution": ""}]).to_parquet(tmp_path / "eval.parquet")
    other = ["--benchmarks", str(tmp_path / "eval.parquet")]
    for more, message in (
        (["--temperature", "1"], r"temperature: the samples in .* were made with 0.6, now it is 1.0. Go back to that"),
        (["--seed", "1"], "seed: the samples in .* were made with 0, now it is 1"),
        (other, "problem 0: its samples in .* were made with another prompt or another answer"),
    ):
        with pytest.raises(SystemExit, match=f"error: {message}"):
            script.main([*words(run_folder, evaluated), *more])


@pytest.mark.parametrize("size", [1000, 150_000])
def test_a_full_disk_ends_in_one_line_and_the_run_goes_on_when_there_is_room(
    run_folder: Path, evaluated: Path, tmp_path: Path, size: int
) -> None:
    with (
        longest_file(size),
        pytest.raises(SystemExit, match="error: output: could not write to .*Make room, then start"),
    ):
        script.main(words(run_folder, tmp_path))
    assert not (tmp_path / "table.md").exists()
    script.main(words(run_folder, tmp_path))
    assert texts(tmp_path) == texts(evaluated)


def test_two_programs_do_not_sample_the_same(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / str(run_folder / "model").replace("/", "--").strip(".-")
    folder.mkdir()
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="error: output: another process is writing to .*; wait for it"):
            script.main(words(run_folder, tmp_path))


def test_models_are_compared_on_the_same_problems(run_folder: Path, tmp_path: Path) -> None:
    """A model, its copy, and an adapter on it that changes nothing yet: equal, so every difference is 0."""
    adapted = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules="all-linear"))
    adapted.peft_config["default"].base_model_name_or_path = str(run_folder / "model")
    adapted.save_pretrained(run_folder / "adapter")
    models = ("model", "adapter")
    script.main(words(run_folder, tmp_path, "--limit", "10", models=models))
    one, other = (texts(log) for log in sorted(path for path in tmp_path.iterdir() if path.is_dir()))
    assert one == other and len(one) == 40
    assert "+0.000 [+0.000, +0.000]" in (tmp_path / "table.md").read_text()
    found = results(tmp_path)
    assert found["first_model"] == str(run_folder / "model")
    assert found["models"][str(run_folder / "adapter")]["difference"]["eval"]["high"] == 0
    script.main(
        ["--report", "--output", str(tmp_path), "--models", *(str(run_folder / name) for name in models[::-1])]
    )
    assert results(tmp_path)["first_model"] == str(run_folder / "adapter")


def test_a_recipe_is_evaluated_on_its_held_out_set_with_its_rewards(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, temperature=0.8)
    output = tmp_path / "eval"
    script.main(["--config", str(recipe), "--output", str(output)])
    [log] = find_logs(output)
    how = log.about["sampling"]
    assert (how["temperature"], how["top_p"], how["max_new_tokens"], log.about["samples"]) == (0.8, 1.0, 4, 4)
    assert (len(log.about["problems"]), log.set) == (8, "recipe")
    starts = {f"w{number}" for number in range(0, 60, 2)}
    right = [bool(starts & set(sample.output.completion.split()[:1])) for sample in all_samples(output)]
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
        (
            "--base_url http://127.0.0.1:9/v1",
            "base_url: http://127.0.0.1:9/v1 does not answer as a server .*OPENAI_API_KEY",
        ),
        ("--base_url http://127.0.0.1:9/v1 --dtype float32", "dtype: with base_url the server decides that"),
        ("--base_url http://127.0.0.1:9/v1 --backend vllm", "backend: with base_url the server is the backend"),
        (
            "--backend transformers --vllm_gpu_memory_utilization 0.5",
            "vllm_gpu_memory_utilization: the backend is trans",
        ),
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
        tokenizer = find_model(str(run_folder / "model")).load_tokenizer()
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
    samples = all_samples(tmp_path / "out")
    assert samples[4].input[0].content.startswith("Question 1: how much is 1 + 1? Let's think step by step")
    assert len(samples) == 8


def test_a_misspelt_recipe_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(SystemExit, match="error: config: there is no file quikstart.yaml.*mean `quickstart.yaml`"):
        script.main(["--config", "quikstart.yaml"])


def test_a_report_names_what_it_does_not_have(evaluated: Path) -> None:
    with pytest.raises(SystemExit, match="error: benchmarks: .* has no samples of aime24, only of eval"):
        script.main(["--report", "--output", str(evaluated), "--benchmarks", "aime24"])


def test_weights_that_cannot_be_read_are_named(run_folder: Path, tmp_path: Path) -> None:
    tiny_model().config.save_pretrained(tmp_path / "bare")
    find_model(str(run_folder / "model")).load_tokenizer().save_pretrained(tmp_path / "bare")
    with pytest.raises(SystemExit, match="error: models: cannot load .*bare: "):
        script.main([*words(run_folder, tmp_path / "out"), "--models", str(tmp_path / "bare")])
    assert not list(tmp_path.glob("out/*/*.eval"))
