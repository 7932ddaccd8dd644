"""
The mathematics of a verdict: math-verify on one answer, with a thin guard after its "right".

In: accepted answers and an answer, as texts. Out: `"right"`, `"wrong"` or `"no_gold"` (no accepted answer can be
read). It may hang or exhaust the memory: only `trl_real.verifier.workers` calls it, in processes that can be killed.
"""

import re
from functools import lru_cache
from typing import Any

from latex2sympy2_extended import normalize_latex
from math_verify import LatexNormalizationConfig, verify
from math_verify.parser import parse_latex_cached
from sympy import Expr

from .answers import strip_braces
from .guard import chain, is_rounding, is_sound
from .normal import lone_letters, normalize
from .units import PERCENT, agree, split_unit
from .values import is_number, same_number, same_where_positive, with_imaginary_unit


Pair = tuple[tuple[str, ...], str | None]

WARM_UP = (
    r"x = -\frac{3}{2}",
    r"5 - 11\sqrt{2}",
    r"\left(-\infty, \frac{1}{3}\right] \cup [4, 5)",
    r"\left(2\sqrt{3}, \frac{\pi}{6}\right)",
    r"\{1, 2.5\}",
    r"-x^3 + 2xy - 3(y - 1)(5y + 4)^2",
    r"\frac{2ab}{a^2 + b^2}",
    r"\begin{pmatrix} 1 & -\frac{1}{2} \\ 0 & 3 \end{pmatrix}",
    r"\sin^2 y + \log_2 3 - 2^{n}",
    r"10\% ",
    r"12{,}500 \text{ cm}^2",
    r"1 \le x < 7",
    r"24_{10}",
)

COMPARED = (
    ("x+3", "1+x+4-2"),
    ("x^2-5x+1", "x^2+3x+1"),
    ("y=2x+1", "y=2x-1"),
    ("(1, 2)", "(2, 1)"),
    ("(-3, 7]", "[1, 2)"),
    (r"\{1, 2\}", r"\{1, 3\}"),
    (r"\frac{\sqrt{2}}{2}", r"\sqrt{3}"),
    (r"\sin^2 x + \cos^2 x", "1"),
    ("6-5i", "6+5i"),
    ("0.33", r"\frac{1}{3}"),
    ("5", r"x = 2 + 3 = 5 \text{ cm}"),
)

# `malformed_operators` reads \\frac43 and 11\\sqrt2, which models write and MATH has as answers; units are ours
SPELLING = LatexNormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_REMARK = re.compile(r"[0-9})\]]\s*\\text(?![a-zA-Z])")
_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")  # 4 2 is not 42


@lru_cache(maxsize=4096)
def read(text: str) -> Any | None:
    """What math-verify makes of a normalized value: a SymPy object, `None` where it reads nothing."""
    try:
        # math-verify's own timeouts need the main thread and do not stop a computation in C: the kernel does
        latex = normalize_latex(lone_letters(text), SPELLING)
        # a text behind a value that is no unit takes it back; to SymPy it is a factor
        return None if _REMARK.search(latex) else with_imaginary_unit(parse_latex_cached(latex))
    except MemoryError:
        raise
    except Exception:  # whatever the parser raises on what it cannot read
        return None


@lru_cache(maxsize=4096)
def readings(answer: str, trusted: bool) -> tuple[tuple[str, str | None], ...]:
    """The values and units that an answer can be read as."""
    text = strip_braces(normalize(answer))
    value, unit = split_unit(text, trusted)
    # a written-out unit is one and no factor; of an accepted answer that is a guess
    if unit is None or unit == PERCENT or (r"\text" in text and not trusted):
        return ((value, unit),)
    return (value, unit), (text, None)


def is_right(gold: tuple[str, str | None], answer: tuple[str, str | None]) -> bool:
    """Whether a value with its unit is an accepted one."""
    if not agree(gold[1], answer[1]):
        return False
    if _SPACE.sub("", gold[0]) == _SPACE.sub("", answer[0]):
        return True
    equation = "=" in gold[0]
    accepted, found = read(gold[0]), read_chain(answer[0], equation)
    if accepted is None or found is None:
        return False
    if is_number(accepted) and is_number(found):
        same = same_number(accepted, found)
        if not same and (gold[1] == PERCENT) != (answer[1] == PERCENT):
            one_percent = (accepted / 100, found) if gold[1] == PERCENT else (accepted, found / 100)
            same = same_number(*one_percent)
        if same is not None:
            return same
    if verify(accepted, found, timeout_seconds=None, allow_set_relation_comp=True):
        return is_sound(accepted, found)
    return isinstance(accepted, Expr) and isinstance(found, Expr) and same_where_positive(accepted, found)


@lru_cache(maxsize=4096)
def read_chain(text: str, whole: bool) -> Any | None:
    """The last member of `a = b = c`, or the whole; `None` where two members are different numbers."""
    members, rounded = chain(text)
    values = [read(member) for member in members]
    numbers = [value for value in values if is_number(value)]
    if any(same_number(numbers[0], number) is False for number in numbers[1:]):
        return None
    if not all(is_rounding(decimal, values[-1]) for decimal in rounded):
        return None
    return read(" = ".join(members)) if whole else values[-1]


def judge(golds: tuple[str, ...], answer: str | None) -> str:
    """Verdict on one answer; an answer of `None` only asks whether the accepted answers can be read."""
    accepted = [reading for gold in golds for reading in readings(gold, True) if reading[0]]
    if not accepted:
        return "no_gold"
    found = readings(answer, False) if answer is not None else ()
    return "right" if any(is_right(gold, one) for gold in accepted for one in found) else "wrong"


def warm_up() -> None:
    """Fills the parser's and SymPy's tables once, for every worker that is forked later."""
    for answer in WARM_UP:
        read(normalize(answer))
    for gold, answer in COMPARED:  # different ones: of equal texts nothing is computed
        judge((gold,), answer)
