"""The worked examples of docs/guides/own-data.md are trained and evaluated, from the very files on the page."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks
from tests.evaluation.logged import samples_by_model
from tests.support.tiny import tiny_tokenizer
from tests.support.trainers import tiny_llama
from trl_real.cli import evaluate, train


PAGE = PAGES["docs/guides/own-data.md"]
CHAT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }} {% endfor %}"
# A model and a batch for two cores; all else is the page's
SMALL = "--model_name_or_path model --use_cpu true --bf16 false --report_to none --max_steps 2 --save_strategy no"
SMALL += " --num_generations 2 --prompts_per_generation 4 --prompts_per_step 2 --per_device_train_batch_size 2"
SMALL += " --max_completion_length 4 --test_size 2 --eval_strategy no"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, each data set long enough, and a model."""
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    tokenizer.chat_template = CHAT
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    for name, lines in zip(("sums", "openings"), blocks(PAGE, "json"), strict=True):
        assert f"`{name}.jsonl`" in PAGE
        rows = [json.loads(line) for line in lines.splitlines()]
        column = next(iter(rows[0]))
        more = [row | {column: f"{row[column]} w{number}"} for number in range(5) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, more)))
    for name, recipe in zip(("sums", "openings"), blocks(PAGE, "yaml"), strict=True):
        (tmp_path / f"{name}.yaml").write_text(recipe)
    (tmp_path / "my_rewards.py").write_text(blocks(PAGE, "python")[0])
    shutil.copy(ROOT / "docs/examples/rewards/exact_match.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    return tmp_path


@pytest.mark.parametrize("example", ["sums", "sums --reward_funcs exact_match.exact_match", "openings"])
def test_an_example_is_planned_and_trained(folder: Path, capsys: pytest.CaptureFixture, example: str) -> None:
    name, *more = example.split()
    words = [*f"--config {name}.yaml {SMALL}".split(), *more]
    with pytest.raises(SystemExit) as end:
        train.main([*words, "--dry_run", "true"])
    assert end.value.code == 0
    train.main([*words, "--log_completions", "true", "--logging_steps", "1"])
    assert (folder / "runs" / name / "model.safetensors").exists()
    printed = capsys.readouterr().out
    assert ("Answer with the number alone." in re.sub(r"[│\s]+", " ", printed)) == (name == "sums")


def test_the_held_out_questions_of_an_example_are_evaluated(folder: Path, capsys: pytest.CaptureFixture) -> None:
    small = "--models model --max_new_tokens 4 --samples 2 --output eval"
    evaluate.main(f"--config sums.yaml {small}".split())
    rows = [sample.metadata for sample in samples_by_model(folder / "eval")["model"]]
    assert len(rows) == 2 and rows[0] == rows[1]  # two answers to one question
    assert [message["role"] for message in rows[0]["prompt"]] == ["system", "user"]
    assert rows[0]["columns"]["answer"] in (42, 56)
    assert "sums" in capsys.readouterr().out


def test_the_file_of_an_example_is_a_benchmark_too(folder: Path, capsys: pytest.CaptureFixture) -> None:
    rows = (folder / "sums.jsonl").read_text().replace("solution", "answer")
    (folder / "named.jsonl").write_text(rows)
    small = "--models model --max_new_tokens 4 --samples 1 --limit 2 --output eval"
    evaluate.main(f"--benchmarks named.jsonl {small}".split())
    assert "named" in capsys.readouterr().out
