"""The documentation as the tests read it: pages, and the commands and code that stand in them."""

import json
import re
import shlex
from pathlib import Path


ROOT = Path(__file__).parents[2]
PROGRAMS = ("trl-real", "accelerate", "python", "make", "pip", "trl")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def _text(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


# Not the changelog: it may name what is gone
PAGES = {
    path.relative_to(ROOT).as_posix(): _text(path)
    for path in sorted([*ROOT.glob("*.md"), ROOT / "recipes/README.md", *(ROOT / "docs").rglob("*")])
    if path.suffix in (".md", ".ipynb") and path.stem != "CHANGELOG"
}


def blocks(text: str, *languages: str) -> list[str]:
    """Code blocks of these languages, or without one (`""`)."""
    return [code for language, code in BLOCK.findall(text) if language in languages]


def commands(text: str) -> list[str]:
    """What a reader would type, in code blocks and in the running text, without `$` and environment variables."""
    lines = "\n".join(blocks(text, "", "bash", "sh")).replace("\\\n", " ").splitlines()
    spans = [" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text))]
    found = []
    for line in [*lines, *spans]:
        line = re.sub(r"^\s*(\$ )?(?:export )?([A-Z_]+=\S* )*", "", line)
        if line.split(" ")[0] in PROGRAMS and " " in line:
            found.append(line)
    return found


def words(command: str) -> list[str]:
    """A command as the shell splits it; `...` stands for what a reader fills in."""
    return [word for word in shlex.split(command, comments=True) if word != "..."]
