"""`trl-real evaluate`: from models and problems to tables, over a kill, a full disk and bad input."""

import importlib.util
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log
from peft import LoraConfig, get_peft_model

from tests.evaluation.logged import samples_by_model, texts
from tests.support.math_run import math_tokenizer, tiny_model, write_math_run
from tests.support.scripts import ROOT, python, write_recipe
from trl_real.cli import evaluate as script
from trl_real.evaluation.results import about_of, find_logs
from trl_real.recipe.held_out import load_held_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, which answers some questions, and `eval.parquet` with 30 of them."""
    folder = tmp_path_factory.mktemp("run")
    write_math_run(folder)
    return folder


def words(folder: Path, output: Path, *more: str, models: tuple[str, ...] = ("model",)) -> list[str]:
    command = ["--models", *(str(folder / model) for model in models), "--benchmarks", str(folder / "eval.parquet")]
    command += ["--output", str(output), "--samples", "4", "--max_new_tokens", "8", "--batch_size", "64"]
    command += ["--temperature", "2"]  # some 9 of 120 answers are right
    return [*command, *more]


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text())


def numbers(output: Path) -> dict[str, Any]:
    """Of the only model on the only set."""
    [model] = results(output)["models"].values()
    return next(iter(model["sets"].values()))


@pytest.fixture(scope="module")
def evaluated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run makes of the 30 questions."""
    output = tmp_path_factory.mktemp("whole")
    script.main(words(folder, output))
    return output


def test_the_tables_have_the_numbers_of_the_samples(evaluated: Path) -> None:
    [samples] = samples_by_model(evaluated).values()
    assert [(sample.id, sample.epoch) for sample in samples] == [(n, k) for n in range(1, 31) for k in range(1, 5)]
    kinds = [len({each.output.completion for each in samples[start : start + 4]}) for start in range(0, 120, 4)]
    assert max(kinds) == 4 and sum(kinds) > 75  # each sample of a problem draws for itself
    # the questions' answers are 1 and 2 in turn
    answers = [sample.output.completion.split("</think>", 1)[1:] for sample in samples]
    wanted = [str((sample.id - 1) % 2 + 1) for sample in samples]
    pairs = zip(answers, wanted, strict=True)
    right = [answer != [] and re.findall(r"boxed\{(\d)\}", answer[0])[-1:] == [gold] for answer, gold in pairs]
    found = numbers(evaluated)
    assert 0 < sum(right) < 60
    assert found["correct"] == [sum(right[start : start + 4]) for start in range(0, 120, 4)]
    assert found["estimates"]["pass@1"]["value"] == pytest.approx(sum(right) / 120)
    cut = sum(sample.output.stop_reason == "max_tokens" for sample in samples)
    assert 0 < cut and found["estimates"]["truncated"]["value"] == pytest.approx(cut / 120)
    lengths = [sample.output.usage.output_tokens for sample in samples]
    assert set(lengths) <= set(range(1, 9))
    assert found["estimates"]["tokens"]["value"] == pytest.approx(sum(lengths) / 120)
    verdicts = [sample.scores["verdict"] for sample in samples]
    assert [verdict.value == 1 for verdict in verdicts] == right and all(verdict.explanation for verdict in verdicts)
    assert {verdict.answer for verdict in verdicts} <= {"1", "2", None}
    table = (evaluated / "table.md").read_text()
    value, low, high = (found["estimates"]["pass@1"][name] for name in ("value", "low", "high"))
    assert f"| {value:.3f} [{low:.3f}, {high:.3f}] |" in table and "| 30 x 4 " in table


def test_nothing_is_sampled_where_nothing_is_missing(
    folder: Path, evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="error: benchmarks: .* has no samples of aime24, only of eval"):
        script.main(["--report", "--output", str(evaluated), "--benchmarks", "aime24"])
    before = (evaluated / "table.md").read_text()
    monkeypatch.setattr("trl_real.evaluation.transformers_api.load_weights", None)
    script.main(words(folder, evaluated))
    script.main(["--report", "--output", str(evaluated)])
    assert before in capsys.readouterr().out
    strict = numbers(evaluated)
    script.main(["--report", "--output", str(evaluated), "--require_think", "false"])
    free = numbers(evaluated)
    assert free["estimates"]["no_answer"]["value"] < strict["estimates"]["no_answer"]["value"]
    assert free["settings"]["judge"] == {"require_think": False}
    script.main(words(folder, evaluated, "--require_think", "false"))
    assert numbers(evaluated) == free
    script.main(["--report", "--output", str(evaluated)])
    assert (evaluated / "table.md").read_text() == before


def test_a_killed_run_resumes_without_loss(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "buffer"))
    command = [sys.executable, "recipes/evaluate.py", *words(folder, tmp_path, "--batch_size", "2")]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (there := logged_samples(tmp_path)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < there < 120 and not (tmp_path / "table.md").exists()
    with pytest.raises(SystemExit, match="error: output: no set is finished. Omitted, not finished: .*model on eval"):
        script.main(["--report", "--output", str(tmp_path)])
    [before] = samples_by_model(tmp_path).values()
    script.main(words(folder, tmp_path))
    [after] = samples_by_model(tmp_path).values()
    assert [(each.id, each.epoch) for each in after] == [(n, k) for n in range(1, 31) for k in range(1, 5)]
    assert {each.uuid for each in before} <= {each.uuid for each in after} and len(before) >= there
    assert "| 30 x 4 " in (tmp_path / "table.md").read_text()


def logged_samples(output: Path) -> int:
    """How many samples the log holds while it is being written."""
    try:
        with zipfile.ZipFile(next(output.glob("*.eval"))) as file:
            return sum(name.startswith("samples/") for name in file.namelist())
    except (StopIteration, zipfile.BadZipFile, OSError):
        return 0


def test_samples_are_kept_when_more_or_fewer_are_asked_for(folder: Path, tmp_path: Path) -> None:
    script.main(words(folder, tmp_path, "--limit", "6", "--samples", "2"))
    first = {each.uuid for each in samples_by_model(tmp_path)[str(folder / "model")]}
    script.main(words(folder, tmp_path, "--limit", "8"))
    assert "| 8 x 4 " in (tmp_path / "table.md").read_text()
    whole = {each.uuid for each in samples_by_model(tmp_path)[str(folder / "model")]}
    assert len(first) == 12 and len(whole) == 32 and first <= whole
    script.main(words(folder, tmp_path, "--limit", "3"))
    assert "| 3 x 4 " in (tmp_path / "table.md").read_text()
    script.main(words(folder, tmp_path, "--limit", "3", "--samples", "1"))
    assert "| 3 x 1 " in (tmp_path / "table.md").read_text()
    kept = [{each.uuid for each in read_eval_log(str(path)).samples} for path in tmp_path.glob("*.eval")]
    assert whole in kept  # fewer cost none of those


@pytest.mark.parametrize("more", ["--temperature 1", "--prompt_format plain", '--chat_template_kwargs {"end":1}', ""])
def test_samples_of_other_settings_or_weights_are_not_reused(folder: Path, tmp_path: Path, more: str) -> None:
    (tmp_path / "eval.parquet").write_bytes((folder / "eval.parquet").read_bytes())
    model, small = shutil.copytree(folder / "model", tmp_path / "model"), ["--limit", "2"]
    script.main(words(tmp_path, tmp_path / "out", *small))
    before = {each.uuid for each in samples_by_model(tmp_path / "out")[str(model)]}
    if not more:
        other = tiny_model()
        other.lm_head.weight.data[0, 0] += 1
        other.save_pretrained(model)
    script.main(words(tmp_path, tmp_path / "out", *small, *more.split()))
    after = {each.uuid for each in samples_by_model(tmp_path / "out")[str(model)]}
    assert len(before) == len(after) == 8 and not before & after


def test_models_are_compared_on_the_same_problems(folder: Path, tmp_path: Path) -> None:
    """A model and an adapter on it that changes nothing yet: with greedy answers every difference is 0."""
    adapted = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules="all-linear"))
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "model")
    adapted.save_pretrained(folder / "adapter")
    models = ("model", "adapter")
    greedy = ["--limit", "10", "--temperature", "0", "--samples", "1"]
    script.main(words(folder, tmp_path, *greedy, models=models))
    one, other = (texts(samples) for samples in samples_by_model(tmp_path).values())
    assert one == other and len(one) == 10
    assert "+0.000 [+0.000, +0.000]" in (tmp_path / "table.md").read_text()
    found = results(tmp_path)
    assert found["first_model"] == str(folder / "model")
    assert found["models"][str(folder / "adapter")]["difference"]["eval"]["high"] == 0
    script.main(["--report", "--output", str(tmp_path), "--models", *(str(folder / name) for name in models[::-1])])
    assert results(tmp_path)["first_model"] == str(folder / "adapter")


def test_a_recipe_is_evaluated_on_its_held_out_set_with_its_rewards(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, temperature=0.8)
    output = tmp_path / "eval"
    script.main(["--config", str(recipe), "--output", str(output)])
    [log] = find_logs(output)
    how = about_of(log)["sampling"]
    assert (how["temperature"], how["top_p"], how["max_new_tokens"]) == (0.8, 1.0, 4)
    [samples] = samples_by_model(output).values()
    starts = {f"w{number}" for number in range(0, 60, 2)}
    right = [bool(starts & set(sample.output.completion.split()[:1])) for sample in samples]
    found = numbers(output)
    assert len(found["correct"]) == 8 and 0 < sum(right) < 32
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


def test_after_a_full_disk_is_one_line_the_run_resumes(folder: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))  # the kernel refuses to write beyond this length
    try:
        with pytest.raises(SystemExit, match="error: .*Finished samples are kept in .*resumes"):
            script.main(words(folder, tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "table.md").exists()
    script.main(words(folder, tmp_path))
    assert "| 30 x 4 " in (tmp_path / "table.md").read_text()


def test_the_logs_are_shown_in_a_browser(evaluated: Path) -> None:
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
            assert next(evaluated.glob("*.eval")).name in reply.read().decode()
    finally:
        process.kill()
        process.communicate()


without_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--benchmarks aime24", "benchmarks: aime24: .*Without the hub, write --data FOLDER, with aime.parquet in it"),
        ("--models {folder}", r"models: .*contains neither config.json nor .*Did you mean .*/\w+\?"),
        ("--models {folder}/model {folder}/model", "models: one is named twice"),
        ("--max_new_tokens 8192", "max_new_tokens: .* has 2048 positions, .*Write --max_new_tokens 20"),
        ("--temperature -1", "temperature: -1.0 is too small; write 0 or more"),
        ("--top_p 0", "top_p: 0.0 is not above 0"),
        ("--temperature 0", "samples: with temperature 0 all of them are the same; write --samples 1"),
        ("--samples 0", "samples: 0 is too small; write 1 or more"),
        ("--base_url http://127.0.0.1:9/v1", "base_url: .* does not answer as a server .*OPENAI_API_KEY"),
        ("--base_url http://127.0.0.1:9/v1 --backend vllm", "backend: with base_url the server is the backend"),
        pytest.param("--backend vllm", "backend: vLLM is not installed", marks=without_vllm),
        ("--chat_template_kwargs [", "chat_template_kwargs: .*write JSON"),
        ("--config quickstart.yaml", "benchmarks, require_think: with --config they come from the recipe"),
        ("--report", "output: there are no samples in"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder: Path, tmp_path: Path, more: str, message: str) -> None:
    output = tmp_path / "out"
    with pytest.raises(SystemExit) as error:
        script.main(words(folder, output) + more.format(folder=folder).split())
    assert re.match(f"error: .*{message}", str(error.value), flags=re.DOTALL)
    assert not output.exists()


def test_without_inspect_the_command_says_what_to_install_and_training_never_needs_it(folder: Path) -> None:
    hidden = "import sys; sys.modules['inspect_ai'] = None; import importlib.util as u; "
    hidden += "u.find_spec = lambda name, find=u.find_spec: None if name == 'inspect_ai' else find(name); "
    code = hidden + "import trl_real.cli.train, trl_real.recipe.held_out; from trl_real.cli.evaluate import main; "
    run = python("-c", code + f"main({words(folder, folder / 'out')!r})")
    assert run.returncode == 1
    assert "error: evaluating needs Inspect AI. Run: pip install 'trl-real[evaluate]'" in run.stderr


def test_several_processes_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="error: start the evaluation as one process"):
        script.main(words(folder, tmp_path / "out"))


def test_weights_that_cannot_be_read_are_named(folder: Path, tmp_path: Path) -> None:
    tiny_model().config.save_pretrained(tmp_path / "model")
    math_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match="error: models: cannot load .*model: .*the same command resumes"):
        script.main([*words(folder, tmp_path / "out"), "--models", str(tmp_path / "model")])
