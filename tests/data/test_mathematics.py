"""The mathematical data sets: every layout to one schema, every removed row counted and named."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset

from tests.support.paper_data import INSTRUCTION, problem_texts, rows_of, write_dataset
from tests.support.tiny import tiny_tokenizer
from trl_real.data.cleaning import REASONS, CleaningReport
from trl_real.data.mathematics import load_math
from trl_real.rewards.mathematics import math_reward


# rows, and of them removed
COUNTS: dict[str, tuple[int, dict[str, int]]] = {
    "aime": (30, {}),
    "aime25": (30, {}),
    "amc": (83, {}),
    "math": (500, {}),
    "minerva": (272, {}),
    "olympiad_bench": (675, {}),
    "deepscaler-subset": (8449, {"empty": 2, "duplicate": 302}),
    "dapo-math-17k": (17398, {"duplicate": 487, "conflict": 16}),
}
RAW_PROMPT = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n{}\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[list[dict[str, Any]], CleaningReport]]:
    """Loads a data set of the paper, once."""
    folder = tmp_path_factory.mktemp("sets")

    @cache
    def load(name: str) -> tuple[list[dict[str, Any]], CleaningReport]:
        rows, report = load_math(str(write_dataset(folder, name)))
        return rows.to_list(), report

    return load


def load_rows(folder: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[list[dict[str, Any]], CleaningReport]:
    path = folder / "rows.parquet"
    Dataset.from_list(rows).to_parquet(path)
    loaded, report = load_math(str(path), **options)
    return loaded.to_list(), report


def problems(*answers: Any, problem: str = "What is it?") -> list[dict[str, Any]]:
    """Rows of one problem with several answers."""
    return [{"problem": problem, "answer": answer} for answer in answers]


@pytest.mark.parametrize("name", COUNTS)
def test_a_data_set_keeps_the_counted_rows_in_order_with_the_papers_prompts(name: str, loaded: Callable) -> None:
    rows, report = loaded(name)
    total, removed = COUNTS[name]
    assert report.counts == {reason: removed.get(reason, 0) for reason in REASONS}
    assert (report.rows, report.kept, len(rows)) == (total, total - sum(removed.values()), report.kept)
    gone = {entry["row"] for entry in report.removed}
    kept = [problem for number, problem in enumerate(problem_texts(name)) if number not in gone]
    source = "math_dapo_boxed" if name == "dapo-math-17k" else name
    for row, problem in zip(rows, kept, strict=True):
        assert row["prompt"] == [{"role": "user", "content": f"{problem} {INSTRUCTION}"}]
        assert row["answer"] and all(answer == answer.strip() != "" for answer in row["answer"])
        assert row["source"] == source and set(row) == {"prompt", "answer", "source"}


@pytest.mark.parametrize("name", COUNTS)
def test_every_accepted_answer_of_a_kept_row_is_rewarded(name: str, loaded: Callable) -> None:
    pairs = [(row["answer"], answer) for row in loaded(name)[0] for answer in row["answer"]]
    completions = [rf"so \boxed{{{answer}}}" for _, answer in pairs]
    assert set(math_reward(None, completions, [accepted for accepted, _ in pairs])) == {1.0}


def test_the_removed_conflicts_of_dapo_are_eight_problems_with_two_answers_each(loaded: Callable) -> None:
    conflicts = {entry["row"]: entry for entry in loaded("dapo-math-17k")[1].removed if "answer" in entry}
    answers = {frozenset((row, *entry["conflicts_with"])): set() for row, entry in conflicts.items()}
    for row, entry in conflicts.items():
        answers[frozenset((row, *entry["conflicts_with"]))].update(entry["answer"])
    assert [len(pair) for pair in answers] == [2] * 8
    assert {"-1", "554"} in answers.values()
    assert all(len(different) == 2 for different in answers.values())


def test_answers_that_differ_only_in_form_are_no_conflict_in_deepscaler(loaded: Callable) -> None:
    removed = {entry["row"]: entry.get("same_as") for entry in loaded("deepscaler-subset")[1].removed}
    # 83 and 83^\circ, 97 and 097, \frac{1}{3} and \frac13
    assert (removed[3952], removed[3117], removed[2199]) == (354, 611, 2140)


def test_dapo_in_its_raw_form_gives_what_the_authors_file_gives(tmp_path: Path) -> None:
    authors = rows_of("dapo-math-17k")[2000:2200]
    problems = [row["prompt"][0]["content"].removesuffix(INSTRUCTION).strip() for row in authors]
    prompts = [[{"role": "user", "content": RAW_PROMPT.format(problem)}] for problem in problems]
    raw = [row | {"data_source": "math_dapo", "prompt": p} for row, p in zip(authors, prompts, strict=True)]
    (tmp_path / "authors").mkdir()
    expected, report = load_rows(tmp_path / "authors", authors)
    rows, raw_report = load_rows(tmp_path, raw * 100)
    wrapped = [[{"role": "user", "content": f"{problem}\n\n{INSTRUCTION}"}] for problem in problems]
    assert rows == [row | {"source": "math_dapo", "prompt": p} for row, p in zip(expected, wrapped, strict=True)]
    assert raw_report.counts == report.counts | {"duplicate": report.counts["duplicate"] + 99 * 200}


def of_verl(content: str, answer: Any, source: str = "") -> dict[str, Any]:
    rule = {"ground_truth": answer, "style": "rule"}
    return {"data_source": source, "prompt": [{"role": "user", "content": content}], "reward_model": rule}


SYSTEM, MESSAGE = [{"role": "system", "content": "s"}], [{"role": "user", "content": f"x? {INSTRUCTION}"}]
PROCESSED = {"prompt": "x?", "solution": "34", "data_source": "math_dapo", "reward_model": {"ground_truth": "34"}}


@pytest.mark.parametrize(
    ("row", "problem", "answer", "source"),
    [
        ({"problem": "1+1? ", "answer": "2", "solution": "2."}, "1+1? ", ["2"], "rows"),
        ({"problem": "1+1?", "answer": 2}, "1+1? ", ["2"], "rows"),
        ({"problem": "1+1?", "answer": 2.0, "id": 7}, "1+1? ", ["2"], "rows"),
        ({"problem": "1/2?", "answer": 0.5}, "1/2? ", ["0.5"], "rows"),
        ({"problem": "AIME", "answer": "025"}, "AIME ", ["025"], "rows"),
        ({"question": "x?", "answer": "9.6\n"}, "x? ", ["9.6"], "rows"),
        ({"question": "x?", "final_answer": ["$2n$"], "answer": "-"}, "x? ", ["$2n$"], "rows"),
        ({"problem": "x?", "answer": ["2", "2\n", "two"], "source": "m"}, "x? ", ["2", "two"], "m"),
        ({"prompt": MESSAGE, "answer": ["3"], "source": "aime"}, "x? ", ["3"], "aime"),
        (PROCESSED, "x?\n\n", ["34"], "math_dapo"),
        (of_verl(RAW_PROMPT.format("Answer:\n\nx?"), "34", "math_dapo"), "Answer:\n\nx?\n\n", ["34"], "math_dapo"),
        (of_verl(f"x? {INSTRUCTION}", 142.0), "x? ", ["142"], "rows"),
    ],
)
def test_a_layout_is_recognised_by_its_columns(
    tmp_path: Path, row: dict[str, Any], problem: str, answer: list[str], source: str
) -> None:
    prompt = [{"role": "user", "content": problem + INSTRUCTION}]
    rows, _ = load_rows(tmp_path, [row], verify=False)
    assert rows == [dict(prompt=prompt, answer=answer, source=source)]


@pytest.mark.parametrize("again", ["What  is\nit?", "What is it？", f"What is it? {INSTRUCTION}"])
def test_of_equal_problems_with_equal_answers_the_first_stays(tmp_path: Path, again: str) -> None:
    kept, report = load_rows(tmp_path, [*problems("1/2"), *problems(r"\frac12", "0.5", "1/2", problem=again)])
    assert [row["answer"] for row in kept] == [["1/2"]]
    assert report.removed == [{"row": number, "reason": "duplicate", "same_as": 0} for number in (3, 1, 2)]


def test_problems_that_differ_in_case_or_in_a_sign_are_different(tmp_path: Path) -> None:
    rows = [row for problem in ("a+b", "a-b", "A+b") for row in problems("1", problem=problem)]
    assert len(load_rows(tmp_path, rows)[0]) == 3


def test_all_rows_of_a_problem_with_different_answers_are_removed(tmp_path: Path) -> None:
    kept, report = load_rows(tmp_path, [*problems("7", "7", "7.0", "8"), *problems("1", problem="another")])
    assert [row["answer"] for row in kept] == [["1"]]
    removed = {entry["row"]: (entry["reason"], entry.get("conflicts_with")) for entry in report.removed}
    conflicts = {0: ("conflict", [2, 3]), 2: ("conflict", [0, 3]), 3: ("conflict", [0, 2])}
    assert removed == conflicts | {1: ("duplicate", None)}


@pytest.mark.parametrize("others", [["3", "4"], ["4", "3"]])
def test_accepted_answers_that_overlap_are_no_conflict(tmp_path: Path, others: list[str]) -> None:
    kept, _ = load_rows(tmp_path, problems(["2", "3"], others))
    assert [row["answer"] for row in kept] == [["2", "3"]]


UNREADABLE = ["$$", r"\left", "\x00\x01", "9" * 3000, r"\frac{1}{", "}{"]
UNREADABLE += ["{'x': 1}", '{"x": "y"}', "b'12'", "inf", "-nan"]


@pytest.mark.parametrize("gold", UNREADABLE)
def test_an_unreadable_answer_is_removed_and_its_readable_twin_stays(tmp_path: Path, gold: str) -> None:
    kept, report = load_rows(tmp_path, problems(gold, "5"))
    assert [row["answer"] for row in kept] == [["5"]]
    [removed] = report.removed
    assert (removed["row"], removed["reason"], removed["answer"]) == (0, "unverifiable", [gold])


@pytest.mark.parametrize("gold", [r"\{1, 2\}", r"\infty", r"\frac{1}{2}", "b", "(1, 2]", r"\left\{x: x > 1\right\}"])
def test_an_answer_that_looks_like_a_python_object_but_is_mathematics_stays(tmp_path: Path, gold: str) -> None:
    assert [row["answer"] for row in load_rows(tmp_path, problems(gold))[0]] == [[gold]]


def test_without_the_verifier_only_texts_and_integers_are_compared(tmp_path: Path) -> None:
    rows = [*problems("07", "7"), *problems("1/2", "0.5", problem="a"), *problems("$$", problem="b")]
    kept, report = load_rows(tmp_path, rows, verify=False)
    assert [row["answer"] for row in kept] == [["07"], ["$$"]]
    assert report.counts == dict.fromkeys(REASONS, 0) | {"duplicate": 1, "conflict": 2}


def test_prompts_are_too_long_from_one_token_above_the_bound_with_the_chat_template(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}<eos> {{ message['content'] }}{% endfor %}"
        "{% if add_generation_prompt %} w0 w1{% endif %}"
    )
    words = len(INSTRUCTION.split()) + 3  # the template adds three
    rows = [row for size in (20, 21, 500, 3) for row in problems("1", problem=" ".join(["w2"] * size))]
    kept, report = load_rows(tmp_path, rows, tokenizer=tokenizer, max_prompt_tokens=20 + words)
    assert [len(row["prompt"][0]["content"].split()) + 3 for row in kept] == [20 + words, 3 + words]
    removed = [(entry["row"], entry["reason"], entry["tokens"]) for entry in report.removed]
    assert removed == [(1, "too_long", 21 + words), (2, "too_long", 500 + words)]
    assert len(load_rows(tmp_path, rows, tokenizer=tokenizer)[0]) == 4


def test_the_report_lists_exactly_the_removed_rows_in_order(tmp_path: Path) -> None:
    rows = [*problems("求", "1", problem="数"), *problems("3", "4"), *problems("", "2", "2", problem="a")]
    kept, report = load_rows(tmp_path, rows, verify=False)
    report.write(tmp_path / "made" / "removed.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "made" / "removed.jsonl").read_text("utf-8").splitlines()]
    reasons = dict.fromkeys(range(4), "conflict") | {4: "empty", 6: "duplicate"}
    assert [(line["row"], line["reason"]) for line in lines] == list(reasons.items())
    first = {"row": 0, "reason": "conflict", "conflicts_with": [1], "prompt": f"数 {INSTRUCTION}", "answer": ["求"]}
    assert lines[0] == first
    assert len(kept) == report.kept == len(rows) - len(lines)


def test_a_fresh_cache_and_a_full_one_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_dataset(tmp_path, "math"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    (rows, report), (again, again_report) = load_math(path), load_math(path)
    assert (again.to_list(), again_report) == (rows.to_list(), report)


def test_answers_are_verified_once_until_the_verifier_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("trl_real.data.cleaning.verifiable", lambda golds, timeout: [asked.append(golds) or True])
    path = tmp_path / "rows.parquet"
    Dataset.from_list(problems("17")).to_parquet(path)
    for _ in range(2):
        load_math(str(path))
    assert asked == [[["17"]]]
    (tmp_path / "verifier.py").write_text("other code")
    monkeypatch.setattr("trl_real.data.cleaning.VERIFIER_CODE", [tmp_path / "verifier.py"])
    load_math(str(path))
    assert asked == [[["17"]]] * 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "1+1?", "label": "2"}], "has the columns text, label, but no pair of columns"),
        ([{"prompt": "1+1?", "reward_model": "2"}], r"`prompt` and `reward_model.ground_truth`"),
        ([{"problem": 5, "answer": "5"}], "prompt: row 0 contains 5. Write a text"),
        ([{"prompt": [*SYSTEM, *MESSAGE], "answer": "5"}], "prompt: row 0 contains .*one user message"),
        ([{"problem": "1+1?", "answer": ""}], r"no row is left\. .*empty +-1"),
    ],
)
def test_rows_that_cannot_be_used_say_what_to_write(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_rows(tmp_path, rows)


def test_a_missing_file_or_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dataset_name: there is no file or folder"):
        load_math("missing.parquet")
    with pytest.raises(ValueError, match="split: there is no split 'test', only train"):
        load_rows(tmp_path, problems("1"), split="test")


def test_a_tokenizer_without_a_chat_template_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="tokenizer: it has no chat template"):
        load_math("missing.parquet", tokenizer=tiny_tokenizer())
