"""
The verifier on the test suite of another grader: math-verify's own, as its source package publishes it.

In: the source package, which pip downloads (or `--folder`, the unpacked tests). Out: how many pairs of its regression
tests are judged otherwise than there, and which. Pairs whose answer has to be found in a sentence are left out: here
an answer comes from a box. No pair is kept in this repository; docs/verifier.md says who is right where they differ.

    python benchmarks/verifier_suites.py --output docs/results/performance/verifier_suites.json
"""

import argparse
import ast
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from records import Table

from trl_real.rewards.mathematics import math_reward
from trl_real.verifier.answers import last_box


PACKAGE = "math-verify==0.9.0"
_MATH = re.compile(r"\$\$?([^$]+)\$\$?|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_COMMAND = re.compile(r"\\[a-zA-Z]+\s*(?:\{[a-zA-Z ]*\})?")
_WORD = re.compile(r"[a-zA-Z]{3,}")


def download(folder: Path) -> Path:
    """The tests of the source package, unpacked into a folder."""
    options = ["--no-deps", "--no-binary", ":all:", "--quiet", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, PACKAGE], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/tests"))


def read_pairs(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """(accepted, found, whether that is right) of every parametrized test; nothing of the package is run."""
    for path in sorted(folder.glob("test_*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            if not ast.unparse(call.func).endswith("parametrize") or "gold" not in ast.unparse(call.args[0]):
                continue
            names = [name.strip() for name in ast.literal_eval(call.args[0]).split(",")]
            for case in call.args[1].elts:
                try:
                    values = dict(zip(names, ast.literal_eval(case), strict=True))
                except ValueError:  # computed
                    continue
                yield values["gold"], values["pred"], bool(values.get("expected", values.get("result")))


def formula(text: str) -> str | None:
    """The mathematics of a text: its boxes, its only formula, or all of it; `None` of a sentence with several."""
    if r"\boxed" in text:
        return last_box(text, adjacent=True)
    formulas = [next(filter(None, found.groups())) for found in _MATH.finditer(text)]
    if len(formulas) == 1:
        return formulas[0]
    return None if _WORD.search(_COMMAND.sub("", text)) else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, help="the tests, unpacked (default: pip downloads them)")
    parser.add_argument("--output", type=Path, help="file for the record")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        everything = list(read_pairs(options.folder or download(Path(folder))))
    pairs = [(formula(gold), formula(found), expected) for gold, found, expected in everything]
    pairs = [pair for pair in pairs if None not in pair]
    rewards = math_reward(None, [rf"\boxed{{{found}}}" for _, found, _ in pairs], [[gold] for gold, _, _ in pairs])
    others = [pair for pair, reward in zip(pairs, rewards, strict=True) if (reward == 1.0) != pair[2]]
    for gold, found, expected in others:
        print("there", "right" if expected else "wrong", repr(gold), repr(found))
    table = Table(["suite", "pairs", "judged otherwise", "left out"], options.output)  # a sentence, or no closed box
    table.add([PACKAGE, *map(str, (len(pairs), len(others), len(everything) - len(pairs)))])


if __name__ == "__main__":
    main()
