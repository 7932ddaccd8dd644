"""
The mathematics of a verdict: math-verify on one answer.

In: accepted answers and an answer, as texts. Out: `"right"`, `"wrong"` or `"no_gold"` (no accepted answer can be
read). It may hang or exhaust the memory: only `trl_real.verifier.workers` calls it, in processes that can be killed.
"""

from functools import lru_cache

from math_verify import LatexExtractionConfig, LatexNormalizationConfig, parse, verify


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

# `malformed_operators` reads \frac43 and 11\sqrt2, which models write and MATH has as answers
EXTRACTION = [
    LatexExtractionConfig(
        boxed_match_priority=0,
        try_extract_without_anchor=False,
        normalization_config=LatexNormalizationConfig(
            basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="last"
        ),
    )
]


@lru_cache(maxsize=2048)
def read(answer: str) -> list:
    """What math-verify makes of one answer: SymPy expressions and texts, none where there is nothing to read."""
    # math-verify's own timeouts need the main thread and do not stop a computation in C: the kernel's alarm does both
    boxed = f"\\boxed{{{answer}}}"
    return parse(boxed, extraction_config=EXTRACTION, extraction_mode="first_match", parsing_timeout=None)


def judge(golds: tuple[str, ...], answer: str | None) -> str:
    """Verdict on one answer; an answer of `None` only asks whether the accepted answers can be read."""
    readable = [gold for gold in map(read, golds) if gold]
    if not readable:
        return "no_gold"
    target = read(answer) if answer is not None else []
    if target and any(verify(gold, target, timeout_seconds=None) for gold in readable):
        return "right"
    return "wrong"


def warm_up() -> None:
    """Fills the parser's tables once, for every worker that is forked later."""
    for answer in WARM_UP:
        judge((answer,), answer)
