"""
What math-verify calls right and is not: a thin guard after its verdict.

In: accepted and found answers as SymPy objects, after math-verify said "right". Out: whether that stands. Left out:
numbers, which `trl_real.verifier.values` compares without math-verify.
"""

import re
from typing import Any

from sympy import Expr, FiniteSet, Interval, MatrixBase, Rational, Symbol, Tuple, simplify, solve
from sympy.core.relational import Eq, Relational
from sympy.logic.boolalg import BooleanAtom

from .values import DIGITS, exact, is_number, same_number, same_where_tried


_EQUALS = re.compile(r"(?<![<>!:\\])=")
_APPROXIMATELY = re.compile(r"\\approx(?![a-zA-Z])")
_UNKNOWN = re.compile(r"[a-zA-Z](?:_\s*(?:[a-zA-Z0-9]|\{[a-zA-Z0-9]+\}))?|\\text\s*\{[^{}]*\}|\\[a-z]+")
_BRACKETS = re.compile(r"\\?[{(\[][^{}()\[\]]*\\?[})\]]")
_SEVERAL = re.compile(
    r"[,;<>]|\\(?:le|leq|ge|geq|lt|gt|ne|neq|in|pm|mp|cup)(?![a-zA-Z])|(?<![a-zA-Z])(?:or|and)(?![a-zA-Z])"
)
_LIST = re.compile(r"\\text\s*\{[^{}]*(?<![a-zA-Z])(?:or|and)(?![a-zA-Z])[^{}]*\}")


def chain(text: str) -> tuple[list[str], list[str]]:
    """The members of `a = b = c`, and the roundings behind them; the text alone where it is no chain."""
    exact, *rounded = (part.strip() for part in _APPROXIMATELY.split(text))
    if rounded and _UNKNOWN.fullmatch(exact):  # of `x \approx 5` all that is said is 5
        exact, *rounded = rounded
    outside, shorter = exact, _hide(exact)
    while shorter != outside:
        outside, shorter = shorter, _hide(shorter)
    if _SEVERAL.search(outside) or _LIST.search(exact):
        return [exact], rounded
    cuts = [(cut.start(), cut.end()) for cut in _EQUALS.finditer(outside)]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(exact)]
    members = [exact[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return (members if all(members) else [exact]), rounded


def _hide(text: str) -> str:
    return _BRACKETS.sub(lambda found: "#" * len(found[0]), text)


def is_rounding(text: str, value: Any) -> bool:
    """Whether a decimal is a number to the digits that it shows."""
    found = re.fullmatch(r"-?[0-9]*(?:\.([0-9]{1,50}))?", text.replace(",", ""))
    if not found or not is_number(value):
        return False
    half = Rational(10) ** -len(found[1] or "") / 2
    return bool(abs(exact(value).evalf(DIGITS) - Rational(text.replace(",", ""))) <= half * Rational(1001, 1000))


def parts(expression: Any) -> list | None:
    """The elements of a set, tuple, matrix or interval; `None` of anything else."""
    if isinstance(expression, MatrixBase):
        return list(expression.flat())
    if isinstance(expression, Interval):
        return [expression.start, expression.end]
    return list(expression.args) if isinstance(expression, (FiniteSet, Tuple)) else None


def is_sound(gold: Any, answer: Any) -> bool:
    """Whether a "right" of math-verify stands."""
    elements = parts(gold), parts(answer)
    if None not in elements:
        return all(_has_twin(one, elements[1]) for one in elements[0] if is_number(one)) and all(
            _has_twin(one, elements[0]) for one in elements[1] if is_number(one)
        )
    if isinstance(gold, Symbol) or isinstance(answer, Symbol):  # a word, as letters or as text
        return True
    if isinstance(gold, Expr) and isinstance(answer, Expr):
        return same_where_tried(gold, answer)
    if isinstance(gold, (Eq, BooleanAtom)) and isinstance(answer, (Eq, BooleanAtom)):
        return _same_equation(gold, answer)
    return True


def _has_twin(number: Expr, numbers: list) -> bool:
    return any(not is_number(other) or same_number(number, other) is not False for other in numbers)


def _same_equation(gold: Any, answer: Any) -> bool:
    """Two equations without a solution are the same to math-verify; they are if one is a multiple of the other."""
    if gold == answer:
        return not (isinstance(gold, Eq) and gold.lhs == gold.rhs)
    if not (isinstance(gold, Relational) and isinstance(answer, Relational)):
        return False
    left, right = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    if left == 0 or right == 0:
        return bool(left == right)
    try:
        return is_number(simplify(left / right)) or bool(solve(gold, gold.free_symbols))
    except (NotImplementedError, TypeError, ValueError):
        return True
