"""Rejects answers that math-verify calls right although they are wrong."""

import re
from typing import Any, cast

from sympy import Expr, FiniteSet, Interval, MatrixBase, Rational, Symbol, Tuple, simplify, solve
from sympy.core.relational import Eq, Relational
from sympy.logic.boolalg import BooleanAtom

from .values import DIGITS, exact, is_number, same_at_a_point, same_number


_EQUALS = re.compile(r"(?<![<>!:\\])=")
_APPROXIMATELY = re.compile(r"\\approx(?![a-zA-Z])")
_UNKNOWN = re.compile(r"[a-zA-Z](?:_\s*(?:[a-zA-Z0-9]|\{[a-zA-Z0-9]+\}))?|\\text\s*\{[^{}]*\}|\\[a-z]+")
_BRACKETS = re.compile(r"\\?[{(\[][^{}()\[\]]*\\?[})\]]")
_SEVERAL = re.compile(
    r"[,;<>]|\\(?:le|leq|ge|geq|lt|gt|ne|neq|in|pm|mp|cup)(?![a-zA-Z])|(?<![a-zA-Z])(?:or|and)(?![a-zA-Z])"
)
_LIST = re.compile(r"\\text\s*\{[^{}]*(?<![a-zA-Z])(?:or|and)(?![a-zA-Z])[^{}]*\}")


def split_chain(text: str) -> tuple[list[str], list[str]]:
    """The members of `a = b = c`, and the roundings that follow; the text itself if it is not a chain."""
    exact, *rounded = (part.strip() for part in _APPROXIMATELY.split(text))
    if rounded and _UNKNOWN.fullmatch(exact):  # `x \approx 5` means 5
        exact, *rounded = rounded
    outside, shorter = exact, _mask_brackets(exact)
    while shorter != outside:
        outside, shorter = shorter, _mask_brackets(shorter)
    if _SEVERAL.search(outside) or _LIST.search(exact):
        return [exact], rounded
    cuts = [(cut.start(), cut.end()) for cut in _EQUALS.finditer(outside)]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(exact)]
    members = [exact[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return (members if all(members) else [exact]), rounded


def _mask_brackets(text: str) -> str:
    return _BRACKETS.sub(lambda found: "#" * len(found[0]), text)


def is_rounding(text: str, value: Any) -> bool:
    """Whether a decimal is a number rounded to the decimal's digits."""
    found = re.fullmatch(r"-?[0-9]*(?:\.([0-9]{1,50}))?", text.replace(",", ""))
    if not found or not is_number(value):
        return False
    half = Rational(10) ** -len(found[1] or "") / 2
    return bool(abs(exact(value).evalf(DIGITS) - Rational(text.replace(",", ""))) <= half * Rational(1001, 1000))


def _elements(expression: Any) -> list | None:
    """The elements of a set, tuple, matrix or interval; `None` for anything else."""
    if isinstance(expression, MatrixBase):
        return list(expression.flat())
    if isinstance(expression, Interval):
        return [expression.start, expression.end]
    return list(expression.args) if isinstance(expression, (FiniteSet, Tuple)) else None


def is_sound(gold: Any, answer: Any) -> bool:
    """Whether an answer that math-verify calls right is right."""
    expected, found = _elements(gold), _elements(answer)
    if expected is not None and found is not None:
        return all(_has_equal(one, found) for one in expected) and all(_has_equal(one, expected) for one in found)
    if isinstance(gold, Symbol) or isinstance(answer, Symbol):  # a word
        return True
    if isinstance(gold, Expr) and isinstance(answer, Expr):
        return same_at_a_point(gold, answer)
    if isinstance(gold, (Eq, BooleanAtom)) and isinstance(answer, (Eq, BooleanAtom)):
        return _same_equation(gold, answer)
    return True


def _has_equal(element: Any, others: list) -> bool:
    return not is_number(element) or any(
        not is_number(other) or same_number(element, other) is not False for other in others
    )


def _same_equation(gold: Any, answer: Any) -> bool:
    """To math-verify, equations without solutions are all the same; here one must be a multiple of the other."""
    if gold == answer:
        return not (isinstance(gold, Eq) and gold.lhs == gold.rhs)
    if not (isinstance(gold, Relational) and isinstance(answer, Relational)):
        return False
    left, right = (cast(Any, equation.lhs) - equation.rhs for equation in (gold, answer))
    if left == 0 or right == 0:
        return bool(left == right)
    try:
        return is_number(simplify(left / right)) or bool(solve(gold, gold.free_symbols))
    except (NotImplementedError, TypeError, ValueError):
        return True
