"""Loading prompts: every kind of source and of columns, and a held-out set that shares no prompt with the training."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from trl_real.data.gym import ANSWER_INSTRUCTION
from trl_real.data.loading import hold_out, load_prompts
from trl_real.recipe.options import RecipeArguments
from trl_real.rewards import reasoning_gym_reward


ROOT = Path(__file__).parents[2]
ROWS = [{"prompt": f"question {index}", "answer": index} for index in range(20)]


def write(folder: Path, suffix: str, rows: list[dict[str, Any]] = ROWS, name: str = "questions") -> str:
    """Writes the rows in the format of the suffix."""
    path, dataset = folder / f"{name}{suffix}", Dataset.from_list(rows)
    {".parquet": dataset.to_parquet, ".csv": dataset.to_csv}.get(suffix, dataset.to_json)(path)
    return str(path)


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl", ".csv"])
def test_a_local_file_gives_its_rows_in_order(tmp_path: Path, suffix: str) -> None:
    train, test = load_prompts(write(tmp_path, suffix), test_split=None)
    assert (train.to_list(), test) == (ROWS, None)


def test_a_folder_gives_the_splits_its_files_are_named_after(tmp_path: Path) -> None:
    write(tmp_path, ".jsonl", ROWS[:15], "train")
    write(tmp_path, ".jsonl", ROWS[15:], "test")
    train, test = load_prompts(str(tmp_path))
    assert (train.to_list(), test.to_list()) == (ROWS[:15], ROWS[15:])
    train, test = load_prompts(str(tmp_path), test_size=4)  # in place of the test split
    assert len(train) == 11 and sorted([*train["answer"], *test["answer"]]) == list(range(15))


def test_a_folder_written_by_save_to_disk_gives_the_splits_asked_for(tmp_path: Path) -> None:
    DatasetDict({"a": Dataset.from_list(ROWS[:4]), "b": Dataset.from_list(ROWS[4:])}).save_to_disk(tmp_path / "saved")
    train, test = load_prompts(str(tmp_path / "saved"), train_split="b", test_split="a")
    assert (train.to_list(), test.to_list()) == (ROWS[4:], ROWS[:4])


@pytest.mark.parametrize(("test_size", "expected"), [(3, 3), (0.25, 5)])
def test_holding_out_keeps_every_row_and_puts_equal_prompts_on_one_side(test_size: float, expected: int) -> None:
    rows = [{"prompt": row["prompt"], "copy": copy} for copy in range(3) for row in ROWS]
    train, test = hold_out(Dataset.from_list(rows), test_size, split_seed=0)
    again, other = (hold_out(Dataset.from_list(rows), test_size, split_seed=seed)[1] for seed in (0, 1))
    assert test.to_list() == again.to_list() != other.to_list()
    assert not set(train["prompt"]) & set(test["prompt"])
    assert len(set(test["prompt"])) == expected
    assert sorted(map(str, train.to_list() + test.to_list())) == sorted(map(str, rows))


def test_size_cuts_the_training_set_after_the_held_out_prompts_are_taken(tmp_path: Path) -> None:
    _, held_out = load_prompts(write(tmp_path, ".jsonl"), test_size=5)
    train, test = load_prompts(write(tmp_path, ".jsonl"), test_size=5, size=3)
    assert test.to_list() == held_out.to_list() and len(train) == 3


def test_a_streamed_file_gives_the_same_rows(tmp_path: Path) -> None:
    train, _ = load_prompts(write(tmp_path, ".jsonl"), test_split=None, streaming=True, size=4)
    assert list(train) == ROWS[:4]
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    train, _ = load_prompts(str(tmp_path / "saved"), test_split=None, streaming=True)
    assert list(train) == ROWS


def test_prompts_become_messages_or_texts_as_asked(tmp_path: Path) -> None:
    chat, _ = load_prompts(write(tmp_path, ".jsonl"), test_split=None, prompt_format="chat")
    assert chat[0]["prompt"] == [{"role": "user", "content": "question 0"}]
    plain, _ = load_prompts(write(tmp_path, ".parquet", chat.to_list()), test_split=None, prompt_format="plain")
    assert plain.to_list() == ROWS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "no-such-name/anywhere"}, "dataset_name: no-such-name/anywhere is not a local file"),
        ({"name": "{rows}"}, "dataset_test_split: .*'test', only train.*test_size"),
        ({"name": "{rows}", "test_size": 1.5}, "test_size: 1.5"),
        ({"name": "{rows}", "prompt_format": "chatty"}, "prompt_format: 'chatty'"),
        ({"name": "reasoning_gym:chain_sums"}, "no task 'chain_sums'. Nearest: chain_sum"),
        ({"name": "reasoning_gym:chain_sum", "config": {"terms": 2}}, "dataset_config: .*terms"),
        ({"name": "reasoning_gym:chain_sum"}, "dataset_test_split: .*hold out .*test_size"),
        ({"name": "reasoning_gym:chain_sum", "train_split": "a", "test_size": 4}, "dataset_train_split: .*'a', only"),
    ],
)
def test_bad_data_is_named_with_a_remedy(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    name = arguments["name"].format(rows=write(tmp_path, ".jsonl"))
    with pytest.raises(ValueError, match=message):
        load_prompts(**arguments | {"name": name})


def test_reasoning_gym_questions_are_the_same_each_time_and_more_of_them_continue_the_series() -> None:
    few, held_out = load_prompts("reasoning_gym:chain_sum", test_size=10, size=20)
    more, again = load_prompts("reasoning_gym:chain_sum", test_size=10, size=40)
    assert few.to_list() == more.to_list()[:20]
    assert held_out.to_list() == again.to_list()
    other, _ = load_prompts("reasoning_gym:chain_sum", test_size=10, size=20, split_seed=1)
    assert not {str(prompt) for prompt in few["prompt"]} & {str(prompt) for prompt in other["prompt"]}


SMALL_SUMS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def test_reasoning_gym_training_and_held_out_questions_are_all_different() -> None:
    options = dict(config=json.dumps(SMALL_SUMS), prompt_format="plain")
    train, test = load_prompts("reasoning_gym:chain_sum", test_size=20, size=80, **options)
    assert len(set(train["prompt"]) | set(test["prompt"])) == 100
    assert train[0]["prompt"].endswith(ANSWER_INSTRUCTION)


def test_a_reasoning_gym_stream_does_not_end_and_never_asks_a_held_out_question() -> None:
    options = dict(config=SMALL_SUMS, streaming=True, prompt_format="plain")
    train, test = load_prompts("reasoning_gym:chain_sum", test_size=50, **options)
    drawn = [row["prompt"] for row in islice(train, 700)]
    assert len(drawn) == 700
    assert not set(drawn) & set(test["prompt"])


def test_a_task_with_too_few_different_questions_says_so() -> None:
    with pytest.raises(ValueError, match="dataset_size: .*only about"):
        load_prompts("reasoning_gym:chain_sum", config=SMALL_SUMS, size=5000, test_split=None)


def test_the_stored_columns_are_enough_for_the_tasks_own_scorer() -> None:
    # A task with many right answers: only its own scorer can tell, and only with the metadata
    train, _ = load_prompts("reasoning_gym:countdown", test_split=None, size=5)
    rows = train.to_list()
    target = json.loads(rows[0]["metadata"])["target"]
    columns = {name: [row[name] for row in rows] for name in ("answer", "metadata")}
    assert reasoning_gym_reward(completions=columns["answer"], **columns) == [1.0] * 5
    assert reasoning_gym_reward(completions=[str(target)] * 5, **columns)[0] < 0.5


def test_the_quickstarts_answers_are_correct_and_sums_are_held_out_in_both_orders() -> None:
    train, test = load_prompts(str(ROOT / "recipes" / "data" / "arithmetic"))
    examples = "2+3=5\n9-4=5\n3*2=6\n"
    seen = []
    for dataset in (train, test):
        questions = [row["prompt"].removeprefix(examples).removesuffix("=") for row in dataset]
        assert all(len(question) == 3 for question in questions)
        assert [eval(question) for question in questions] == dataset["answer"]
        # 3+4 tells 4+3, and 2+3 stands among the examples
        seen.append({(question[1], *sorted(question[::2])) for question in questions})
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & {("+", "2", "3"), ("*", "2", "3")}
    assert (len(train), len(test)) == (93, 48)


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
    options = dict(prompt_column="question", prompt_format="chat", system_prompt="Be brief.", test_size=1)
    train, _ = load_prompts(file, **options)
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
