"""The mathematical data sets: every layout to one schema, every removed row counted and named."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, Features, List, Value

from tests.support.tiny import tiny_tokenizer
from trl_real.data.cleaning import REASONS, CleaningReport
from trl_real.data.mathematics import load_math
from trl_real.rewards.mathematics import math_reward


SHARED = Path(__file__).parents[3] / "shared" / "data"
INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."
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
# forms of a sign that the files mix
FORMS = str.maketrans(
    dict(zip("，：；？（）！", ",:;?()!", strict=True)) | {"ﬁ": "fi"} | dict.fromkeys(" \n\t\f\u3000\xa0")
)
RAW_PROMPT = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n{}\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def shared_file(name: str) -> Path:
    path = SHARED / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"needs {path.name} in ../shared/data")
    return path


@cache
def load_shared(name: str) -> tuple[list[dict[str, Any]], CleaningReport]:
    rows, report = load_math(str(shared_file(name)))
    return rows.to_list(), report


@cache
def source_rows(name: str) -> list[dict[str, Any]]:
    return Dataset.from_parquet(str(shared_file(name))).to_list()


def problem_of(row: dict[str, Any]) -> str:
    return row["problem"] if "problem" in row else row["prompt"][0]["content"].removesuffix(INSTRUCTION)


def load_rows(folder: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[list[dict[str, Any]], CleaningReport]:
    path = folder / "rows.parquet"
    Dataset.from_list(rows).to_parquet(path)
    loaded, report = load_math(str(path), **options)
    return loaded.to_list(), report


def problems(*answers: Any, problem: str = "What is it?") -> list[dict[str, Any]]:
    """Rows of one problem with several answers."""
    return [{"problem": problem, "answer": answer} for answer in answers]


# The files


@pytest.mark.parametrize("name", COUNTS)
def test_every_file_loads_and_loses_as_many_rows_as_were_looked_at(name: str) -> None:
    rows, report = load_shared(name)
    total, removed = COUNTS[name]
    assert report.counts == {reason: removed.get(reason, 0) for reason in REASONS}
    assert (report.rows, report.kept, len(rows)) == (total, total - sum(removed.values()), report.kept)


@pytest.mark.parametrize("name", COUNTS)
def test_kept_rows_have_the_schema_and_the_order_of_the_source_and_the_prompts_of_the_authors(name: str) -> None:
    rows, report = load_shared(name)
    removed = {entry["row"] for entry in report.removed}
    kept = [row for number, row in enumerate(source_rows(name)) if number not in removed]
    for row, source in zip(rows, kept, strict=True):
        prompt = (
            f"{source['problem'].strip()} {INSTRUCTION}" if "problem" in source else source["prompt"][0]["content"]
        )
        assert row["prompt"] == [{"role": "user", "content": prompt}]
        assert prompt.count(INSTRUCTION) == 1
        assert row["answer"]
        assert all(answer == answer.strip() != "" for answer in row["answer"])
        assert row["source"] == ("math_dapo_boxed" if name == "dapo-math-17k" else name)
        assert set(row) == {"prompt", "answer", "source"}


@pytest.mark.parametrize("name", COUNTS)
def test_every_accepted_answer_of_a_kept_row_is_rewarded(name: str) -> None:
    pairs = [(row["answer"], answer) for row in load_shared(name)[0] for answer in row["answer"]]
    completions = [rf"so \boxed{{{answer}}}" for _, answer in pairs]
    assert set(math_reward(None, completions, [accepted for accepted, _ in pairs])) == {1.0}


@pytest.mark.parametrize("name", ["deepscaler-subset", "dapo-math-17k"])
def test_a_removed_duplicate_differs_from_an_earlier_row_by_spaces_and_forms_of_a_sign_only(name: str) -> None:
    rows = source_rows(name)
    for entry in load_shared(name)[1].removed:
        if entry["reason"] == "duplicate":
            assert entry["same_as"] < entry["row"]
            one, other = (problem_of(rows[entry[key]]).translate(FORMS) for key in ("row", "same_as"))
            assert one == other


def test_the_removed_conflicts_of_dapo_are_eight_problems_with_two_answers_each() -> None:
    conflicts = {entry["row"]: entry for entry in load_shared("dapo-math-17k")[1].removed if "answer" in entry}
    answers = {frozenset((row, *entry["conflicts_with"])): set() for row, entry in conflicts.items()}
    for row, entry in conflicts.items():
        answers[frozenset((row, *entry["conflicts_with"]))].update(entry["answer"])
    assert [len(pair) for pair in answers] == [2] * 8
    assert {"-1", "554"} in answers.values()
    assert all(len(different) == 2 for different in answers.values())


def test_answers_that_differ_only_in_form_are_no_conflict_in_deepscaler() -> None:
    removed = {entry["row"]: entry.get("same_as") for entry in load_shared("deepscaler-subset")[1].removed}
    # 83 and 83^\circ, 97 and 097, \frac{1}{3} and \frac13
    assert (removed[3952], removed[3117], removed[2199]) == (354, 611, 2140)


def test_dapo_in_its_raw_form_gives_what_the_authors_file_gives(tmp_path: Path) -> None:
    authors = source_rows("dapo-math-17k")[2000:2200]
    raw = [
        {
            **row,
            "data_source": "math_dapo",
            "prompt": [{"role": "user", "content": RAW_PROMPT.format(problem_of(row).strip())}],
        }
        for row in authors
    ]
    (tmp_path / "authors").mkdir()
    expected, report = load_rows(tmp_path / "authors", authors)
    rows, raw_report = load_rows(tmp_path, raw * 100)
    assert rows == [{**row, "source": "math_dapo"} for row in expected]
    assert raw_report.counts == {**report.counts, "duplicate": report.counts["duplicate"] + 99 * 200}


# The layouts


@pytest.mark.parametrize(
    ("row", "prompt", "answer", "source"),
    [
        ({"problem": "1+1? ", "answer": "2", "solution": "2."}, f"1+1? {INSTRUCTION}", ["2"], "rows"),
        ({"problem": "1+1?", "answer": 2}, f"1+1? {INSTRUCTION}", ["2"], "rows"),
        ({"problem": "1+1?", "answer": 2.0, "id": 7}, f"1+1? {INSTRUCTION}", ["2"], "rows"),
        ({"problem": "1/2?", "answer": 0.5}, f"1/2? {INSTRUCTION}", ["0.5"], "rows"),
        ({"problem": "AIME", "answer": "025"}, f"AIME {INSTRUCTION}", ["025"], "rows"),
        ({"question": "x?", "answer": "9.6\n"}, f"x? {INSTRUCTION}", ["9.6"], "rows"),
        ({"question": "x?", "final_answer": ["$2n$"], "answer": "-"}, f"x? {INSTRUCTION}", ["$2n$"], "rows"),
        ({"problem": "x?", "answer": ["2", "2\n", "two"], "source": "m"}, f"x? {INSTRUCTION}", ["2", "two"], "m"),
        (
            {"prompt": [{"role": "user", "content": f"x? {INSTRUCTION}"}], "answer": ["3"], "source": "aime"},
            f"x? {INSTRUCTION}",
            ["3"],
            "aime",
        ),
        (
            {"prompt": "x?", "solution": "34", "data_source": "math_dapo", "reward_model": {"ground_truth": "34"}},
            f"x?\n\n{INSTRUCTION}",
            ["34"],
            "math_dapo",
        ),
        (
            {
                "data_source": "math_dapo",
                "prompt": [{"role": "user", "content": RAW_PROMPT.format("Answer:\n\nx?")}],
                "reward_model": {"ground_truth": "34", "style": "rule"},
            },
            f"Answer:\n\nx?\n\n{INSTRUCTION}",
            ["34"],
            "math_dapo",
        ),
        (
            {
                "data_source": "",
                "prompt": [{"role": "user", "content": f"x? {INSTRUCTION}"}],
                "reward_model": {"ground_truth": 142.0, "style": "rule"},
            },
            f"x? {INSTRUCTION}",
            ["142"],
            "rows",
        ),
    ],
)
def test_a_layout_is_recognised_by_its_columns(
    tmp_path: Path, row: dict[str, Any], prompt: str, answer: list[str], source: str
) -> None:
    rows, _ = load_rows(tmp_path, [row], verify=False)
    assert rows == [{"prompt": [{"role": "user", "content": prompt}], "answer": answer, "source": source}]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows, path = Dataset.from_list(problems("3", problem="a") + problems("4", problem="b")), tmp_path / f"rows{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(rows.to_list()))  # one array, as DeepScaleR has it
    else:
        (rows.to_csv if suffix == ".csv" else rows.to_json)(path)
    loaded, _ = load_math(str(path))
    assert [row["answer"] for row in loaded] == [["3"], ["4"]]


def test_the_result_has_its_types_even_where_the_first_answers_are_missing(tmp_path: Path) -> None:
    rows = [{"problem": f"p{number}", "answer": None if number < 2000 else "1"} for number in range(2001)]
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    loaded, report = load_math(str(tmp_path / "rows.parquet"))
    message = {"role": Value("string"), "content": Value("string")}
    assert loaded.features == Features(
        {"prompt": List(message), "answer": List(Value("string")), "source": Value("string")}
    )
    assert (len(loaded), report.counts["empty"]) == (1, 2000)


def test_what_was_loaded_loads_again_unchanged(tmp_path: Path) -> None:
    rows, _ = load_rows(tmp_path, problems("3", problem="a") + problems(r"\frac12", problem="b"))
    (tmp_path / "again").mkdir()
    again, report = load_rows(tmp_path / "again", rows)
    assert (again, report.removed) == (rows, [])


# The cleaning


def test_rows_without_a_problem_or_an_answer_are_removed(tmp_path: Path) -> None:
    rows = problems("1", problem=" ") + problems("1", problem=INSTRUCTION) + problems(None, "\n", problem="a")
    kept, report = load_rows(tmp_path, [*rows, *problems("1", problem="b")])
    assert (len(kept), report.counts["empty"]) == (1, 4)


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
    assert removed == {
        0: ("conflict", [2, 3]),
        1: ("duplicate", None),
        2: ("conflict", [0, 3]),
        3: ("conflict", [0, 2]),
    }


@pytest.mark.parametrize("others", [["3", "4"], ["4", "3"]])
def test_accepted_answers_that_overlap_are_no_conflict(tmp_path: Path, others: list[str]) -> None:
    kept, _ = load_rows(tmp_path, problems(["2", "3"], others))
    assert [row["answer"] for row in kept] == [["2", "3"]]


@pytest.mark.parametrize(
    "gold",
    ["$$", r"\left", "\x00\x01", "9" * 3000, r"\frac{1}{", "}{", "{'x': 1}", '{"x": "y"}', "b'12'", "inf", "-nan"],
)
def test_an_answer_that_the_verifier_cannot_read_is_removed_and_its_readable_twin_stays(
    tmp_path: Path, gold: str
) -> None:
    kept, report = load_rows(tmp_path, problems(gold, "5"))
    assert [row["answer"] for row in kept] == [["5"]]
    assert [(entry["row"], entry["reason"], entry["answer"]) for entry in report.removed] == [
        (0, "unverifiable", [gold])
    ]


@pytest.mark.parametrize("gold", [r"\{1, 2\}", r"\infty", r"\frac{1}{2}", "b", "(1, 2]", r"\left\{x: x > 1\right\}"])
def test_an_answer_that_looks_like_a_python_object_but_is_mathematics_stays(tmp_path: Path, gold: str) -> None:
    assert [row["answer"] for row in load_rows(tmp_path, problems(gold))[0]] == [[gold]]


def test_without_the_verifier_only_texts_and_integers_are_compared(tmp_path: Path) -> None:
    rows = [*problems("07", "7"), *problems("1/2", "0.5", problem="a"), *problems("$$", problem="b")]
    kept, report = load_rows(tmp_path, rows, verify=False)
    assert [row["answer"] for row in kept] == [["07"], ["$$"]]
    assert report.counts == {
        "empty": 0,
        "duplicate": 1,
        "unverifiable": 0,
        "conflict": 2,
        "contaminated": 0,
        "too_long": 0,
    }


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
    assert [(entry["row"], entry["reason"], entry["tokens"]) for entry in report.removed] == [
        (1, "too_long", 21 + words),
        (2, "too_long", 500 + words),
    ]
    assert len(load_rows(tmp_path, rows, tokenizer=tokenizer)[0]) == 4


# The report, the cache, the errors


def test_the_report_lists_exactly_the_removed_rows_in_order(tmp_path: Path) -> None:
    rows = [*problems("求", "1", problem="数"), *problems("3", "4"), *problems("", "2", "2", problem="a")]
    kept, report = load_rows(tmp_path, rows, verify=False)
    report.write(tmp_path / "made" / "removed.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "made" / "removed.jsonl").read_text("utf-8").splitlines()]
    assert [(line["row"], line["reason"]) for line in lines] == [
        (0, "conflict"),
        (1, "conflict"),
        (2, "conflict"),
        (3, "conflict"),
        (4, "empty"),
        (6, "duplicate"),
    ]
    assert lines[0] == {
        "row": 0,
        "reason": "conflict",
        "conflicts_with": [1],
        "prompt": f"数 {INSTRUCTION}",
        "answer": ["求"],
    }
    assert len(kept) == report.kept == len(rows) - len(lines)


def test_the_summary_names_every_reason_and_adds_up(tmp_path: Path) -> None:
    _, report = load_rows(tmp_path, [*problems("3", "4"), *problems("2", problem="a")])
    table = {line.split()[0]: int(line.split()[1]) for line in report.summary().splitlines()[1:]}
    assert list(table) == ["rows", *REASONS, "kept"]
    assert table["rows"] + sum(table[reason] for reason in REASONS) == table["kept"] == 1


def test_a_fresh_cache_and_a_full_one_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(shared_file("math"))
    rows, report = load_shared("math")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    for _ in range(2):
        again, again_report = load_math(path)
        assert (again.to_list(), again_report) == (rows, report)


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
        (
            [{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "answer": "5"}],
            "prompt: row 0 contains .*one user message",
        ),
        ([{"problem": "1+1?", "answer": ""}], r"no row is left\. .*empty +-1"),
    ],
)
def test_rows_that_cannot_be_used_say_what_to_write(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_rows(tmp_path, rows)


def test_a_file_that_is_missing_empty_or_without_the_split_is_named(tmp_path: Path) -> None:
    Dataset.from_dict({"problem": [], "answer": []}).to_parquet(tmp_path / "none.parquet")
    (tmp_path / "empty.jsonl").touch()
    Dataset.from_list(problems("1")).to_parquet(tmp_path / "one.parquet")
    for name, split, message in (
        ("missing.parquet", "train", "dataset_name: there is no file or folder"),
        ("none.parquet", "train", "dataset_name: cannot read .*none.parquet"),
        ("empty.jsonl", "train", "dataset_name: .*empty.jsonl is an empty file"),
        ("one.parquet", "test", "split: there is no split 'test', only train"),
    ):
        with pytest.raises(ValueError, match=message):
            load_math(str(tmp_path / name), split)


def test_a_tokenizer_without_a_chat_template_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="tokenizer: it has no chat template"):
        load_math("missing.parquet", tokenizer=tiny_tokenizer())
