"""docs/results/studies/chain.py: the task, its teacher and the model that is warmed up on it."""

import json
import random
import sys
from pathlib import Path

import pytest

from docs.results.studies import chain


def test_the_answer_is_every_running_value_modulo_ten() -> None:
    # 7+3 = 10 -> 0, 0*2 = 0, 0-5 = -5 -> 5
    assert chain.running_values("7+3*2-5=") == "005"
    # A teacher that always errs: 7+3+1 = 11 -> 1, 1+2 = 3, 5-3 = 2
    assert chain.running_values("7+3*2-5=", (0.0, 0.0, 0.0), random.Random(0)) == "132"


def test_a_teacher_errs_at_its_rate_per_operation() -> None:
    luck = random.Random(0)
    for operator, rate in zip("+-*", (0.9, 0.65, 0.5), strict=True):
        prompt = f"2{operator}6="  # right and wrong differ
        drawn = (chain.running_values(prompt, (0.9, 0.65, 0.5), luck) for _ in range(4000))
        assert sum(values == chain.running_values(prompt) for values in drawn) / 4000 == pytest.approx(rate, abs=0.03)


def test_a_reward_looks_at_the_last_digit_or_at_each_value() -> None:
    assert chain.last_digit_reward(["005", "15", "050", "", "5 "], ["5"] * 5) == [1.0, 1.0, 0.0, 0.0, 1.0]
    completions = ["005", "015", "05", "5", "", "0051"]
    assert chain.share_right_reward(completions, ["005"] * 6) == pytest.approx([1, 2 / 3, 1 / 3, 0, 0, 1])


def test_a_seed_gives_the_same_prompts_and_leaves_out_what_it_must() -> None:
    rows = chain.draw_prompts(1, 50, "seed")
    assert rows == chain.draw_prompts(1, 50, "seed") != chain.draw_prompts(1, 50, "other seed")
    without = {row["prompt"] for row in rows}
    assert not without & {row["prompt"] for row in chain.draw_prompts(1, 200, "seed", without)}


def test_prompts_and_completions_survive_the_tokenizer() -> None:
    tokenizer = chain.chain_tokenizer()
    ids = tokenizer("7+3*2-5=005")["input_ids"]
    assert len(ids) == 11 and tokenizer.decode(ids) == "7+3*2-5=005"
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == "7+3*2-5=005"


def test_a_base_is_written_completely_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "chain2"
    monkeypatch.setattr(sys, "argv", ["chain.py", "--length", "2", "--steps", "60", "--output_dir", str(folder)])
    chain.main()
    assert [path.name for path in folder.parent.iterdir()] == ["chain2"]
    about = json.loads((folder / "chain.json").read_text())
    assert about["length"] == 2 and about["loss"] < 2.3  # below guessing among ten digits
    texts = [(folder / "data" / f"{part}.jsonl").read_text() for part in ("train", "test")]
    parts = [[json.loads(line) for line in text.splitlines()] for text in texts]
    train, held_out = ({row["prompt"] for row in rows} for rows in parts)
    assert [len(rows) for rows in parts] == [5000, 650] and not train & held_out
    written = (folder / "model.safetensors").stat().st_mtime_ns
    chain.main()
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
