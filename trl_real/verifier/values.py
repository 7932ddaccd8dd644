"""
When two numbers are the same: exactly, where both are exact; to the digits of a decimal, where one is.

In: SymPy expressions. Out: whether they are the same number, or `None` where they are no numbers. math-verify compares
to an absolute 1e-6 or 1e-15, which takes every tiny number for every other.
"""

from sympy import Add, Expr, Float, I, Integer, Mul, Number, NumberSymbol, Pow, Rational, Symbol, exp, log, simplify
from sympy.core.function import AppliedUndef
from sympy.core.traversal import preorder_traversal
from sympy.functions.elementary.trigonometric import TrigonometricFunction


DIGITS = 40
SAME = 1e-25  # relative, of numbers computed to DIGITS; then absolute
HUGE = 10**4000  # the digits of larger numbers are not computed
RELATIVE, ABSOLUTE = 2e-6, 1e-6  # of a decimal for an exact number: both must hold
SMOOTH = (Add, Mul, Pow, Number, NumberSymbol, Symbol, exp, log, TrigonometricFunction)
SHORT = 10**6  # a fraction with a denominator that divides it can be written out, and so must be


def exact(expression: Expr) -> Expr:
    """The expression with its decimals as the fractions that they stand for."""
    return expression.xreplace({number: Rational(str(number)) for number in expression.atoms(Float)})


def is_number(expression: object) -> bool:
    return isinstance(expression, Expr) and not expression.free_symbols and not expression.atoms(AppliedUndef)


def with_imaginary_unit(expression: object) -> object:
    """The expression with the symbol `i` as the imaginary unit, which the parser leaves a symbol."""
    if not isinstance(expression, Expr):
        return expression
    symbols = expression.free_symbols
    if not any(symbol.name == "i" for symbol in symbols):
        return expression
    return expression.xreplace(
        {symbol: I if symbol.name == "i" else Symbol(symbol.name, real=True) for symbol in symbols}
    )


def same_number(gold: Expr, answer: Expr) -> bool | None:
    """Whether two numbers are the same; `None` where one cannot be computed."""
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
    if 0 in values and distance < SAME:  # no number of digits tells a difference of roots from nothing
        return bool(simplify(gold - answer) == 0)
    if decimals[0] == decimals[1]:
        both_written_out = not decimals[0] or all(isinstance(number.doit(), Rational) for number in (gold, answer))
        return False if both_written_out else bool(distance <= RELATIVE * size and distance <= ABSOLUTE)
    other = answer if decimals[0] else gold
    if isinstance(other, Rational) and SHORT % other.q == 0:
        return False
    return bool(distance <= RELATIVE * size and distance <= ABSOLUTE)


def _finer_distance(gold: Expr, answer: Expr, size: Expr) -> Expr:
    """How far numbers that agree to the digits of `SAME` are apart: fractions exactly, others to `SAME` at least."""
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


def same_where_positive(gold: Expr, answer: Expr) -> bool:
    """
    Whether two expressions in roots, powers, logarithms and trigonometric functions have the same real value at four
    points where all variables are positive: there, roots may be pulled apart, which SymPy does not do.
    """
    symbols = sorted(gold.free_symbols, key=str)
    if not symbols or gold.free_symbols != answer.free_symbols or not (_is_smooth(gold) and _is_smooth(answer)):
        return False
    points = (
        {
            symbol: Rational(7 + 5 * (3 * place + 7 * trial) % 11, 3) + Rational(place, 101)
            for place, symbol in enumerate(symbols)
        }
        for trial in range(4)
    )  # in another order each time
    return all(_same_at(gold, answer, point) for point in points)


def _is_smooth(expression: Expr) -> bool:
    return all(isinstance(part, SMOOTH) for part in preorder_traversal(expression))


def _same_at(gold: Expr, answer: Expr, point: dict[Symbol, Rational]) -> bool:
    gold, answer = (exact(number).xreplace(point) for number in (gold, answer))
    values = [number.evalf(DIGITS) for number in (gold, answer)]
    if not all(value.is_real and value.is_finite for value in values):
        return False
    size = max(map(abs, values))
    return bool(abs(values[0] - values[1]) <= SAME * size and _finer_distance(gold, answer, size) == 0)


def same_where_tried(gold: Expr, answer: Expr) -> bool:
    """Whether two expressions have the same value at one odd point; true where that cannot be computed."""
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    point = {symbol: Rational(10007 + 2 * place, 3001 + 34 * place) for place, symbol in enumerate(symbols)}
    same = same_number(gold.subs(point), answer.subs(point))
    return same is not False
