"""`trl-real data`: the command of `trl_real.data`. In: its words. Out: a report. Left out: how data are compared."""

from ..data.commands import main as look


def main(words: list[str]) -> None:
    """Hands the words on."""
    look(words, "trl-real data")
