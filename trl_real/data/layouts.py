r"""
Reads mathematical data sets in their various layouts into one: the paper's prompt as one user message, a list of
accepted answers, and a source.

The columns determine the layout: DeepScaleR, DAPO-Math-17K (raw, processed, or prepared for verl), AIME, AMC,
MATH-500, Minerva and OlympiadBench.
"""

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Any, TypedDict, cast

from datasets import Dataset, Features, List, Value

from ..verifier import answers as answers_module
from ..verifier.answers import accepted_answers
from .loading import CALL_FIELDS, Fields, load_splits, pick_split


INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."

# Columns of the question and of the answer, the least ambiguous pair first
LAYOUTS = (
    ("prompt", "reward_model"),  # DAPO-Math-17K, and whatever was prepared for verl
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
        # For cleaning
        "problem": Value("string"),
        "row": Value("int64"),
    }
)

# Cached results must depend on the code that made them
_CODE = "".join(Path(path).read_text("utf-8") for path in (__file__, answers_module.__file__))
_DAPO_WRAPPER = re.compile(
    r"Solve the following math problem step by step\. The last line of your response should be of the form Answer:"
    r"[^\n]*\n\n(.*)\n\nRemember to put your answer on its own line after \"Answer:\"\.",
    re.DOTALL,
)


class MathRow(TypedDict):
    """A row with the columns of `FEATURES`: `problem` is a key of the problem, `row` its number in the source."""

    prompt: list[dict[str, Any]]
    answer: list[str]
    source: str
    problem: str
    row: int


def read_math(name: str, split: str = "train", config: str | None = None, fields: Fields = CALL_FIELDS) -> Dataset:
    """All rows, as in [`MathRow`]. Arguments as in [`~trl_real.data.mathematics.load_math`]."""
    path = Path(name).expanduser()
    source = path.stem if path.exists() else name
    splits = load_splits(name, config, streaming=False, field=fields.name)
    raw = cast(Dataset, pick_split(splits, split, fields.split))  # it is not streamed
    return raw.map(
        _standard_rows,
        batched=True,
        with_indices=True,
        remove_columns=raw.column_names,
        features=FEATURES,
        fn_kwargs={"layout": _find_layout(raw, name, fields.name), "name": source, "code": _CODE},
        desc="Reading the problems",
    )


def _find_layout(dataset: Dataset, name: str, field: str) -> tuple[str, str]:
    for question, answer in LAYOUTS:
        if question not in dataset.column_names or answer not in dataset.column_names:
            continue
        feature = dataset.features[answer]
        if answer != "reward_model" or (isinstance(feature, dict) and "ground_truth" in feature):
            return question, answer
    known = "; ".join(f"`{question}` and `{answer}`" for question, answer in LAYOUTS)
    raise ValueError(
        f"{field}: {name} has the columns {', '.join(dataset.column_names)}, but no pair of columns with a "
        f"question and its answer: {known.replace('reward_model', 'reward_model.ground_truth')}. Rename its columns."
    )


def _standard_rows(
    batch: dict[str, list], numbers: list[int], layout: tuple[str, str], name: str, code: str
) -> dict[str, list[Any]]:
    """A batch of rows with the columns of `FEATURES`; `name` is the source of rows that name none."""
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
        "answer": [list(dict.fromkeys(accepted_answers(answer))) for answer in answers],
        "source": [source or name for source in sources],
        "problem": [problem_key(prompt) for prompt in prompts],
        "row": numbers,
    }


def write_prompt(problem: str, from_dapo: bool = False) -> str:
    """The paper's prompt for a problem; empty for an empty problem, unchanged if it ends with the instruction."""
    if problem.rstrip().endswith(INSTRUCTION):
        return problem
    problem = problem.strip()
    if wrapped := _DAPO_WRAPPER.fullmatch(problem):
        problem, from_dapo = wrapped[1].strip(), True
    if not problem:
        return ""
    return f"{problem}\n\n{INSTRUCTION}" if from_dapo else f"{problem} {INSTRUCTION}"


def problem_key(prompt: str) -> str:
    """A key that is equal for prompts that differ only in spaces or letter forms; empty for an empty problem."""
    problem = "".join(unicodedata.normalize("NFKC", prompt.rstrip().removesuffix(INSTRUCTION)).split())
    return hashlib.blake2b(problem.encode(), digest_size=16).hexdigest() if problem else ""


def _question_text(question: Any, number: int) -> str:
    if isinstance(question, list) and [message["role"] for message in question] == ["user"]:
        question = question[0]["content"]
    if not isinstance(question, str | None):
        raise ValueError(
            f"prompt: row {number} contains {str(question)[:200]}. Write a text, or a list with one user message: the "
            "paper's prompt has no other."
        )
    return question or ""
