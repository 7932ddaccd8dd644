r"""
The layouts in which mathematical data sets come, and the one in which the training takes them.

In: the name of a data set with rows as DeepScaleR, DAPO-Math-17K (raw, processed, or as verl reads it), AIME, AMC,
MATH-500, Minerva and OlympiadBench have them; the columns tell which, never the name. Out: rows with `prompt` (one
user message in the paper's words), `answer` (accepted answers as texts) and `source`. Left out: judging the rows
(`trl_real.data.cleaning`).
"""

import hashlib
import math
import re
import unicodedata
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from .loading import CALL_FIELDS, Fields, load_splits, pick_split


INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."

# question and answer, the surest pair first: the processed DAPO has an `answer`-like `solution` beside `reward_model`
LAYOUTS = (
    ("prompt", "reward_model"),  # DAPO-Math-17K, and everything that was prepared for verl
    ("problem", "answer"),  # DeepScaleR, AIME, AMC, MATH-500, lkevinzc/math-eval
    ("question", "final_answer"),  # OlympiadBench
    ("question", "answer"),  # Minerva
    ("prompt", "answer"),  # what this module returns
)
SOURCES = ("data_source", "source")
FEATURES = Features(
    {
        "prompt": List({"role": Value("string"), "content": Value("string")}),
        "answer": List(Value("string")),
        "source": Value("string"),
        # for the cleaning
        "problem": Value("string"),
        "row": Value("int64"),
    }
)

_DAPO_WRAPPER = re.compile(
    r"Solve the following math problem step by step\. The last line of your response should be of the form Answer:"
    r"[^\n]*\n\n(.*)\n\nRemember to put your answer on its own line after \"Answer:\"\.",
    re.DOTALL,
)


def read_math(name: str, split: str = "train", config: str | None = None, fields: Fields = CALL_FIELDS) -> Dataset:
    """
    All rows in the paper's prompt format, with the columns of `FEATURES`.

    Args:
        name (`str`), split (`str`, *optional*, defaults to `"train"`), config (`str`, *optional*), fields:
            As in [`~trl_real.data.mathematics.load_math`].

    Returns:
        `Dataset`: the rows.
    """
    path = Path(name).expanduser()
    source = path.stem if path.exists() else name
    raw = pick_split(load_splits(name, config, streaming=False, field=fields.name), split, fields.split)
    code = Path(__file__).read_text("utf-8")  # the cache would not see that it changed
    return raw.map(
        standard_rows,
        batched=True,
        with_indices=True,
        remove_columns=raw.column_names,
        features=FEATURES,
        fn_kwargs={"layout": find_layout(raw, name, fields.name), "name": source, "code": code},
        desc="Reading the problems",
    )


def find_layout(dataset: Dataset, name: str, field: str = "dataset_name") -> tuple[str, str]:
    """
    The columns of the question and of the answer.

    Args:
        dataset (`Dataset`):
            Rows as they come.
        name (`str`):
            What the error message calls them.
        field (`str`, *optional*, defaults to `"dataset_name"`):
            The option that it names.

    Returns:
        `tuple[str, str]`: one of `LAYOUTS`.
    """
    for question, answer in LAYOUTS:
        if question not in dataset.column_names or answer not in dataset.column_names:
            continue
        feature = dataset.features[answer]
        if answer != "reward_model" or (isinstance(feature, dict) and "ground_truth" in feature):
            return question, answer
    known = "; ".join(f"`{question}` and `{answer}`" for question, answer in LAYOUTS)
    raise ValueError(
        f"{field}: {name} has the columns {', '.join(dataset.column_names)}, and none of the pairs that hold a "
        f"question and its answer: {known.replace('reward_model', 'reward_model.ground_truth')}. Rename its columns."
    )


def standard_rows(
    batch: dict[str, list], numbers: list[int], layout: tuple[str, str], name: str, code: str
) -> dict[str, list[Any]]:
    """
    A batch of rows in the schema of the training, plus the number of each row and the key of its problem.

    Args:
        batch (`dict[str, list]`):
            Columns as they come.
        numbers (`list[int]`):
            Numbers of the rows.
        layout (`tuple[str, str]`):
            From [`find_layout`].
        name (`str`):
            Source of rows that name none.
        code (`str`):
            Unused; makes the cache forget what other code has made.

    Returns:
        `dict[str, list]`: columns as in `FEATURES`.
    """
    questions, answers = (batch[column] for column in layout)
    if layout[1] == "reward_model":
        answers = [(rule or {}).get("ground_truth") for rule in answers]
    given = next((batch[column] for column in SOURCES if column in batch), [None] * len(numbers))
    sources = [source if isinstance(source, str) else "" for source in given]
    questions = [_question_text(question, number) for question, number in zip(questions, numbers, strict=True)]
    prompts = [
        write_prompt(question, from_dapo=source.startswith("math_dapo"))
        for question, source in zip(questions, sources, strict=True)
    ]
    return {
        "prompt": [[{"role": "user", "content": prompt}] for prompt in prompts],
        "answer": [list(dict.fromkeys(answer_texts(answer))) for answer in answers],
        "source": [source or name for source in sources],
        "problem": [problem_key(prompt) for prompt in prompts],
        "row": numbers,
    }


def write_prompt(problem: str, from_dapo: bool = False) -> str:
    """The paper's prompt for a problem; empty without one, unchanged if it ends with the instruction already."""
    if problem.rstrip().endswith(INSTRUCTION):
        return problem
    problem = problem.strip()
    if wrapped := _DAPO_WRAPPER.fullmatch(problem):
        problem, from_dapo = wrapped[1].strip(), True
    if not problem:
        return ""
    return f"{problem}\n\n{INSTRUCTION}" if from_dapo else f"{problem} {INSTRUCTION}"


def problem_key(prompt: str) -> str:
    """Equal for prompts that differ in spaces or in forms of a letter; empty if there is no problem."""
    problem = "".join(unicodedata.normalize("NFKC", prompt.rstrip().removesuffix(INSTRUCTION)).split())
    return hashlib.blake2b(problem.encode(), digest_size=16).hexdigest() if problem else ""


def answer_texts(answer: Any) -> list[str]:
    """Accepted answers as texts, from a text, a number or a list of them; none for what is missing."""
    if isinstance(answer, list):
        return [text for one in answer for text in answer_texts(one)]
    if answer is None or (isinstance(answer, float) and math.isnan(answer)):
        return []
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    text = str(answer).strip()
    return [text] if text else []


def _question_text(question: Any, number: int) -> str:
    if isinstance(question, list) and [message["role"] for message in question] == ["user"]:
        question = question[0]["content"]
    if not isinstance(question, str | None):
        raise ValueError(
            f"prompt: row {number} holds {str(question)[:200]}. Write a text, or a list of one message of the user; "
            "the paper's prompt has no other."
        )
    return question or ""
