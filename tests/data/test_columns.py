"""Columns of other names and a system message, as a recipe asks for them."""

from pathlib import Path

import pytest
from datasets import Dataset

from trl_real.data.loading import load_prompts
from trl_real.recipe.options import RecipeArguments


@pytest.fixture
def file(tmp_path: Path) -> str:
    rows = [{"question": f"{n} + 1?", "solution": n + 1, "prompt": "of someone else"} for n in range(4)]
    Dataset.from_list(rows).to_json(tmp_path / "rows.jsonl")
    return str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("streaming", [False, True])
def test_named_columns_become_prompt_and_answer_on_both_sides(file: str, streaming: bool) -> None:
    named = dict(prompt_column="question", answer_column="solution", streaming=streaming)
    for rows in load_prompts(file, test_split="train", **named):
        assert list(rows) == [{"prompt": f"{n} + 1?", "answer": n + 1} for n in range(4)]
    _, held_out = load_prompts(file, test_size=2, prompt_column="question", answer_column="solution")
    assert {row["prompt"] for row in held_out} < {f"{n} + 1?" for n in range(4)}


def test_a_system_message_stands_before_each_prompt(file: str) -> None:
    train, _ = load_prompts(
        file, prompt_column="question", prompt_format="chat", system_prompt="Be brief.", test_size=1
    )
    for row in train:
        assert [(message["role"], message["content"]) for message in row["prompt"]][0] == ("system", "Be brief.")
        assert row["prompt"][1]["content"].endswith("+ 1?")


def test_a_second_system_message_is_an_error(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "1 + 1?"}]
    Dataset.from_list([{"prompt": prompt}]).to_json(tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="system_prompt: a prompt already has one .'Be long.'"):
        load_prompts(str(tmp_path / "rows.jsonl"), test_split=None, system_prompt="Be brief.")


@pytest.mark.parametrize("field", ["prompt_column", "answer_column", "system_prompt"])
def test_the_mathematical_format_has_its_own_columns_and_prompt(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: dataset_format: math"):
        RecipeArguments(dataset_name="any", dataset_format="math", **{field: "x"})
    with pytest.raises(ValueError, match="system_prompt: plain prompts"):
        RecipeArguments(dataset_name="any", prompt_format="plain", system_prompt="x")
