"""One spelling for answers that mean the same in LaTeX, Unicode or plain text. Values and units are not changed."""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache


MAX_CHARS = 2000  # the longest answer of the paper's data sets has some 200
_UNICODE = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "°": r"^\circ ",
    "≈": r"\approx ", "±": r"\pm ", "∈": r"\in ", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "θ": r"\theta ", "ℝ": r"\mathbb{R}", "％": r"\%", "，": ",", "（": "(",
    "）": ")",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff]")
_WORD = r"(?![a-zA-Z])"
_STEPS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:textcolor|color|colorbox)\s*\{[^{}]*\}", ""),
        (rf"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits){_WORD}\s*\.?(?![0-9])", ""),
        (r"(?<=[0-9])\s*,\s*\\!\s*(?=[0-9]{3}(?![0-9]))", ","),
        (r"(?<!\\)\\!|\\\$|\$", ""),  # not in the `\\` that ends a row
        (r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ""),
        (r"(?<=[0-9])\s*\{\s*,\s*\}\s*(?=[0-9])", ","),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])|\s+", " "),
        (r"(?<![0-9.,a-zA-Z}])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]| ?/)", lambda found: found[0].replace(" ", "")),
        (rf"\\[dtc]frac{_WORD}", r"\\frac"),
        (r"(?<![a-zA-Z\\])(sin|cos|tan|cot|sec|csc|ln|log|exp)(?=\()", r"\\\1"),
        (rf"(?<![a-zA-Z\\])pi{_WORD}", r"\\pi "),
        (r"(?<![a-zA-Z])\\?sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\[[^\[\]]*\])\s*([0-9a-zA-Z])", r"\\sqrt\1{\2}"),
        (rf"\\(?:math(?:rm|bf|it|sf|tt)|text(?:rm|bf|it|normal|sf)|operatorname\*?|mbox|hbox){_WORD}", r"\\text"),
        (r"\{\s*\\rm\s+([^{}]*)\}", r"\\text{\1}"),
        (r"\\mu\s*\\text\s*\{\s*", r"\\text{u"),
        (r"\\text\s*\{\s*(?:[µμ]|\\mu\s)\s*", r"\\text{u"),
        (rf"(?<=[0-9])\s*(?:\\text\s*\{{\s*([kM])\s*\}}\s*)?\\Omega{_WORD}", r" \\text{\1ohm}"),
        (rf"\\(?:bf|it|boldsymbol){_WORD}|\\text\s*\{{\s*\}}", ""),
        (r"^\s*\\text\s*\{\s*(-?[0-9][0-9.,]*)\s*\}\s*$", r"\1"),
        (rf"\\varnothing{_WORD}|\\\{{\s*\\\}}", r"\\emptyset "),
        (rf"\^\s*\{{\s*\\circ\s*\}}|\\degree{_WORD}", r"^\\circ "),
        (rf"\\(?:sin|cos|tan|cot|sec|csc){_WORD}.*\^\s*\\circ.*", lambda found: _DEGREES.sub(_radians, found[0])),
        (rf"\^\s*\\circ{_WORD}", ""),
        (r"(?<![A-Za-z0-9.\\])([0-9]+\.?[0-9]*|\.[0-9]+)[eE]([+-]?)0*([0-9]+)(?![0-9.])", r"\1 \\times 10^{\2\3}"),
        (r"\{\+", "{"),
        (r"\^\s*(-[0-9]+)", r"^{\1}"),
        (r"√\s*([0-9]+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (rf"\\(?:i|j)math{_WORD}|\\text\s*\{{\s*i\s*\}}", "i"),
        (r"(?<=[0-9})])\s*\\?[*]?\s*i(?![a-zA-Z])", " i"),
        (r"\s*(\\%|%)", r"\\%"),
    ]
]
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\s*\\(?:overline|bar|dot)\s*\{?\s*([0-9]{1,12})\s*\}?")
_MODULO = re.compile(r"([0-9]{1,50})\s*\\(?:bmod|mod)(?![a-zA-Z])\s*([0-9]{1,50})")
_DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*\^\s*\\circ(?![a-zA-Z])")
_MIXED = re.compile(r"(-?\s*[0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)")
_LONE_LETTER = re.compile(r"\\text\s*\{\s*([a-zA-Z])\s*\}")


@lru_cache(maxsize=1024)  # all rollouts of a group have the same accepted answers
def normalize(text: str) -> str:
    """One spelling of an answer; a text that is too long for an answer is only stripped."""
    if len(text) > MAX_CHARS:  # no time limit applies here
        return text.strip()
    text = _INVISIBLE.sub("", text)
    for sign, latex in _UNICODE.items():
        text = text.replace(sign, latex)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: f"^{{{found[0].translate(_SUPERSCRIPTS)}}}", text)
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    text = _REPEATING.sub(_repeating, text)
    text = _MODULO.sub(lambda found: str(int(found[1]) % int(found[2])) if int(found[2]) else found[0], text)
    text = text.strip().rstrip(".,;: ").removesuffix("\\").strip()
    if found := _MIXED.fullmatch(text):
        return rf"{found[1]}\frac{{{found[2]}}}{{{found[3]}}}"
    return " ".join(text.split())


def _radians(found: re.Match) -> str:
    """An angle in a trigonometric function; elsewhere the degree sign is a unit."""
    return rf"(\frac{{{found[1]} \pi}}{{180}})"


def lone_letters(text: str) -> str:
    r"""The value with each single letter in `\text` as a variable."""
    return _LONE_LETTER.sub(r" \1 ", text)


def _repeating(found: re.Match) -> str:
    whole, once, again = found[1] or "0", found[2], found[3]
    if len(whole + once) > 50:
        return found[0]
    value = Fraction(int(whole + once + again) - int(whole + once), 10 ** len(once) * (10 ** len(again) - 1))
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
