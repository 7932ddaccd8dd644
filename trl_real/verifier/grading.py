"""
Judges one answer with math-verify, and checks its "right".

It may hang or exhaust the memory: call it only in processes that can be killed (`trl_real.verifier.workers`).
"""

import re
from functools import lru_cache
from typing import Any

from latex2sympy2_extended import normalize_latex
from math_verify import LatexNormalizationConfig, verify
from math_verify.parser import parse_latex_cached
from sympy import Expr

from .answers import strip_braces
from .guard import is_rounding, is_sound, split_chain
from .normal import lone_letters, normalize
from .units import PERCENT, split_unit, units_agree
from .values import is_number, same_at_positive_points, same_number, with_imaginary_unit


WARM_UP = (
    r"x = -\frac{3}{2}", r"5 - 11\sqrt{2}", r"\left(-\infty, \frac{1}{3}\right] \cup [4, 5)",
    r"\left(2\sqrt{3}, \frac{\pi}{6}\right)", r"\{1, 2.5\}", r"-x^3 + 2xy - 3(y - 1)(5y + 4)^2",
    r"\frac{2ab}{a^2 + b^2}", r"\begin{pmatrix} 1 & -\frac{1}{2} \\ 0 & 3 \end{pmatrix}",
    r"\sin^2 y + \log_2 3 - 2^{n}", r"10\% ", r"12{,}500 \text{ cm}^2", r"1 \le x < 7", r"24_{10}",
)  # fmt: skip
COMPARED = (
    ("x+3", "1+x+4-2"), ("x^2-5x+1", "x^2+3x+1"), ("y=2x+1", "y=2x-1"), ("(1, 2)", "(2, 1)"), ("(-3, 7]", "[1, 2)"),
    (r"\{1, 2\}", r"\{1, 3\}"), (r"\frac{\sqrt{2}}{2}", r"\sqrt{3}"), (r"\sin^2 x + \cos^2 x", "1"),
    ("6-5i", "6+5i"), ("0.33", r"\frac{1}{3}"), ("5", r"x = 2 + 3 = 5 \text{ cm}"),
)  # fmt: skip

# `malformed_operators` reads \\frac43 and 11\\sqrt2, which occur in MATH; units are split off here
SPELLING = LatexNormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_REMARK = re.compile(r"[0-9})\]]\s*\\text(?![a-zA-Z])")
_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")  # 4 2 is not 42


@lru_cache(maxsize=4096)
def parse(text: str) -> Any | None:
    """A normalized value as a SymPy object; `None` if math-verify cannot read it."""
    try:
        # Without math-verify's own timeouts, which need the main thread and do not stop a computation in C
        latex = normalize_latex(lone_letters(text), SPELLING)
        # A text behind a value that is no unit revokes it; SymPy would multiply by it
        return None if _REMARK.search(latex) else with_imaginary_unit(parse_latex_cached(latex))
    except MemoryError:
        raise
    except Exception:  # the parser raises anything on what it cannot read
        return None


@lru_cache(maxsize=4096)
def readings(answer: str, trusted: bool) -> tuple[tuple[str, str | None], ...]:
    """The pairs of value and unit that an answer may mean."""
    text = strip_braces(normalize(answer))
    value, unit = split_unit(text, trusted)
    # In a model's answer `\text{...}` is surely a unit; otherwise the unit may be a factor
    if unit is None or unit == PERCENT or (r"\text" in text and not trusted):
        return ((value, unit),)
    return (value, unit), (text, None)


def is_right(gold: tuple[str, str | None], answer: tuple[str, str | None]) -> bool:
    """Whether a value with its unit equals an accepted one."""
    if not units_agree(gold[1], answer[1]):
        return False
    if _SPACE.sub("", gold[0]) == _SPACE.sub("", answer[0]):
        return True
    equation = "=" in gold[0]
    accepted, found = parse(gold[0]), parse_chain(answer[0], equation)
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
    return isinstance(accepted, Expr) and isinstance(found, Expr) and same_at_positive_points(accepted, found)


@lru_cache(maxsize=4096)
def parse_chain(text: str, as_equation: bool) -> Any | None:
    """The last member of `a = b = c`, or the equation; `None` if two members are different numbers."""
    members, rounded = split_chain(text)
    values = [parse(member) for member in members]
    numbers = [value for value in values if is_number(value)]
    if any(same_number(numbers[0], number) is False for number in numbers[1:]):
        return None
    if not all(is_rounding(decimal, values[-1]) for decimal in rounded):
        return None
    return parse(" = ".join(members)) if as_equation else values[-1]


def judge(golds: tuple[str, ...], answer: str | None) -> str:
    """`"right"`, `"wrong"`, or `"no_gold"` if no accepted answer can be read; `answer=None` only checks the latter."""
    accepted = [reading for gold in golds for reading in readings(gold, True) if reading[0]]
    if not accepted:
        return "no_gold"
    found = readings(answer, False) if answer is not None else ()
    return "right" if any(is_right(gold, one) for gold in accepted for one in found) else "wrong"


def warm_up() -> None:
    """Fills the tables of the parser and SymPy once, before workers are forked."""
    for answer in WARM_UP:
        parse(normalize(answer))
    for gold, answer in COMPARED:  # pairs that differ: equal texts need no computation
        judge((gold,), answer)
