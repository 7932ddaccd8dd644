"""
`trl-real figures`: the command of `trl_real.figures`.

In: its words. Out: a picture. Left out: matplotlib, which is an extra; without it the error says what to install.
"""


def main(words: list[str]) -> None:
    """Hands the words on."""
    try:
        from ..figures import main as draw
    except ImportError as error:
        raise SystemExit(f"error: {error}") from error
    draw(words, "trl-real figures")
