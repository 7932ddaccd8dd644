"""What a misspelt name probably was. In: a name and those that there are. Out: a question for an error message."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A question with the name that was probably meant; empty if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
