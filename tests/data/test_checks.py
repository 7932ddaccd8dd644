"""Every row is looked at before the first step, and errors of reading say their cause."""

import json
from pathlib import Path
from typing import Any

import pytest

from trl_real.data.loading import load_prompts


MESSAGES = [{"role": "user", "content": "1+1?"}]


def load(folder: Path, text: str | bytes, name: str = "rows.jsonl", **options: Any) -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_prompts(str(path), test_split=None, **options)[0].to_list()


def lines(*prompts: Any) -> str:
    return "".join(json.dumps({"prompt": prompt, "answer": 1}) + "\n" for prompt in prompts)


@pytest.mark.parametrize("options", [{}, {"test_size": 5}, {"size": 3}, {"prompt_format": "chat"}])
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([*map(str, range(41)), None, "b"], "the prompt of row 41 .* is null; write a text"),
        ([None, *map(str, range(9))], "the prompt of row 0 .* is null"),
        ([*"aaaaaaa", MESSAGES, *"ab"], "row 7 .* is a list of messages, but that of row 0 is a text; write all"),
        ([MESSAGES] * 8 + ["a", "b"], "row 8 .* is a text, but that of row 0 is a list of messages; write all"),
        ([MESSAGES] * 8 + [[]], "row 8 .* is .*, not a list of messages; write"),
        ([MESSAGES, [{"role": "user", "content": None}]], "row 1 .* not a list of messages; write"),
        ([["a", "b"]] * 8, "row 0 .* not a list of messages; write"),
        ([5, 6, 7], "row 0 .* is '5', not a text"),
    ],
)
def test_a_bad_prompt_is_named(tmp_path: Path, prompts: list[Any], message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, lines(*prompts), **options)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.csv", "prompt,answer\n", "cannot read .*rows.csv: it has no data rows"),
        ("rows.jsonl", "", "rows.jsonl is an empty file"),
        ("rows.jsonl", '{"prompt": "a"}\n{"prompt": "b', "cannot read .*rows.jsonl: JSON parse error.* in row 1"),
        ("rows.jsonl", b'{"prompt": "a"}\n{"prompt": "\xe9"}\n', "cannot read .*rows.jsonl: line 2 is not in UTF-8"),
        ("rows.csv", b"prompt,answer\n\xe9,1\n", "cannot read .*rows.csv: line 2 is not in UTF-8"),
    ],
)
def test_the_error_for_an_unreadable_file(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"dataset_name: .*{message}"):
        load(tmp_path, text, name)


CSV = """\
prompt,answer,number,code,share,flag
a,None,1,007,0.5,True
b,NA,2,12,1.25,False
c,nan,3,,2,True
d,,4,1e5,3,True
"""
AS_WRITTEN = [
    {"prompt": "a", "answer": "None", "number": 1, "code": "007", "share": 0.5, "flag": True},
    {"prompt": "b", "answer": "NA", "number": 2, "code": "12", "share": 1.25, "flag": False},
    {"prompt": "c", "answer": "nan", "number": 3, "code": None, "share": 2.0, "flag": True},
    {"prompt": "d", "answer": None, "number": 4, "code": "1e5", "share": 3.0, "flag": True},
]


@pytest.mark.parametrize("streaming", [False, True])
def test_values_of_a_csv_file_stay_as_written(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    assert list(load_prompts(str(tmp_path / "rows.csv"), test_split=None, streaming=streaming)[0]) == AS_WRITTEN


def test_values_of_a_folder_of_csv_files_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    (tmp_path / "test.csv").write_text("prompt,answer,number,code,share,flag\ne,5,123456789012345678,0,1,True\n")
    train, test = load_prompts(str(tmp_path))
    assert [row["answer"] for row in train] == ["None", "NA", "nan", None]
    assert [(row["answer"], row["number"], row["code"]) for row in test] == [("5", "123456789012345678", "0")]
    assert [row["number"] for row in train] == ["1", "2", "3", "4"]  # one column is of one kind


def test_a_file_of_a_folder_that_is_not_in_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes("prompt\né\n".encode("latin-1"))
    with pytest.raises(ValueError, match="dataset_name: cannot read .*train.csv: line 2 is not in UTF-8"):
        load_prompts(str(tmp_path))


@pytest.mark.parametrize("integer", ["123456789012345678901234567890", "-9007199254740993", "12345678901234567"])
def test_large_integers_of_a_csv_file_stay_as_they_are(tmp_path: Path, integer: str) -> None:
    text = f"prompt,answer,number\na,{integer},1\nb,,2\n"
    rows = load(tmp_path, text, "rows.csv")
    assert [(row["answer"], row["number"]) for row in rows] == [(integer, 1), (None, 2)]


def test_a_message_that_only_calls_tools_is_one(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    messages = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert load(tmp_path, lines(messages))[0]["prompt"][1]["tool_calls"] == [call]
