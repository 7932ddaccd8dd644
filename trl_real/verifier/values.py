"""
When two numbers are the same: exactly if both are exact, else to the digits of the decimal.

math-verify compares with an absolute tolerance of 1e-6 or 1e-15, which makes all tiny numbers equal.
"""

from typing import Any, TypeGuard, cast

from sympy import Add, Expr, Float, I, Integer, Mul, Number, NumberSymbol, Pow, Rational, Symbol, exp, log, simplify
from sympy.core.function import AppliedUndef
from sympy.core.traversal import preorder_traversal
from sympy.functions.elementary.trigonometric import TrigonometricFunction


DIGITS = 40
SAME = 1e-25  # tolerance for numbers computed to DIGITS: first relative, then absolute
HUGE = 10**4000  # larger numbers are not computed to more digits
RELATIVE, ABSOLUTE = 2e-6, 1e-6  # of a decimal from an exact number: both apply
SMOOTH = (Add, Mul, Pow, Number, NumberSymbol, Symbol, exp, log, TrigonometricFunction)
SHORT = 10**6  # a fraction whose denominator divides it is a finite decimal, which must be given in full


def exact(expression: Expr) -> Expr:
    """The expression with its decimals as fractions."""
    return cast(Expr, expression.xreplace({number: Rational(str(number)) for number in expression.atoms(Float)}))


def is_number(expression: object) -> TypeGuard[Expr]:
    return isinstance(expression, Expr) and not expression.free_symbols and not expression.atoms(AppliedUndef)


def with_imaginary_unit(expression: object) -> object:
    """The expression with the imaginary unit in place of the symbol `i`."""
    if not isinstance(expression, Expr):
        return expression
    symbols: set[Any] = expression.free_symbols
    if not any(symbol.name == "i" for symbol in symbols):
        return expression
    return expression.xreplace(
        {symbol: I if symbol.name == "i" else Symbol(symbol.name, real=True) for symbol in symbols}
    )


def same_number(gold: Expr, answer: Expr) -> bool | None:
    """Whether two numbers are the same; `None` if one cannot be computed."""
    decimals = [bool(number.atoms(Float)) for number in (gold, answer)]
    gold, answer = exact(gold), exact(answer)
    values = [number.evalf(DIGITS) for number in (gold, answer)]
    if not all(value.is_number and value.is_finite and value.is_comparable is not None for value in values):
        return None
    size = max(abs(value) for value in values)
    distance = abs(values[0] - values[1])
    if distance <= SAME * size:
        distance = _finer_distance(gold, answer, size)
    if distance == 0:
        return True
    if 0 in values and distance < SAME:  # more digits cannot prove that a difference of roots is 0
        return bool(simplify(gold - answer) == 0)
    if decimals[0] == decimals[1]:
        both_written_out = not decimals[0] or all(isinstance(number.doit(), Rational) for number in (gold, answer))
        return False if both_written_out else bool(distance <= RELATIVE * size and distance <= ABSOLUTE)
    other = answer if decimals[0] else gold
    if isinstance(other, Rational) and SHORT % other.q == 0:
        return False
    return bool(distance <= RELATIVE * size and distance <= ABSOLUTE)


def _finer_distance(gold: Expr, answer: Expr, size: Expr) -> Expr:
    """The distance of numbers that agree to `SAME`: of fractions exactly, of others to `SAME` at least."""
    if size == 0 or size > HUGE:
        return Integer(0)
    if gold.is_rational and answer.is_rational:
        fractions = gold.doit(), answer.doit()
        if all(isinstance(fraction, Rational) for fraction in fractions):
            return abs(fractions[0] - fractions[1])
    digits = DIGITS + len(str(int(size)))
    values = [number.evalf(digits, maxn=100 + digits) for number in (gold, answer)]
    distance = abs(values[0] - values[1])
    return Integer(0) if distance <= SAME * min(size, 1) else distance


def same_at_positive_points(gold: Expr, answer: Expr) -> bool:
    """
    Whether two expressions in roots, powers, logarithms and trigonometric functions have the same real value at four
    points with positive variables, where roots of products are products of roots; SymPy does not simplify them.
    """
    symbols = sorted(gold.free_symbols, key=str)
    if not symbols or gold.free_symbols != answer.free_symbols or not (_is_smooth(gold) and _is_smooth(answer)):
        return False
    points: tuple[dict[Any, Any], ...] = tuple(
        {
            symbol: Rational(7 + 5 * (3 * place + 7 * trial) % 11, 3) + Rational(place, 101)
            for place, symbol in enumerate(symbols)
        }
        for trial in range(4)
    )  # each with another order of the values
    return all(_same_at(gold, answer, point) for point in points)


def _is_smooth(expression: Expr) -> bool:
    return all(isinstance(part, SMOOTH) for part in preorder_traversal(expression))


def _same_at(gold: Expr, answer: Expr, point: dict[Any, Any]) -> bool:
    gold, answer = (cast(Expr, exact(number).xreplace(point)) for number in (gold, answer))
    values = [number.evalf(DIGITS) for number in (gold, answer)]
    if not all(value.is_real and value.is_finite for value in values):
        return False
    size = max(map(abs, values))
    return bool(abs(values[0] - values[1]) <= SAME * size and _finer_distance(gold, answer, size) == 0)


def same_at_a_point(gold: Expr, answer: Expr) -> bool:
    """Whether two expressions have the same value at one arbitrary point; `True` if that cannot be computed."""
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    values = (Rational(10007 + 2 * place, 3001 + 34 * place) for place in range(len(symbols)))
    point: dict[Any, Any] = dict(zip(symbols, values, strict=True))
    same = same_number(gold.subs(point), answer.subs(point))
    return same is not False
