"""
From verdicts to `table.md` and `results.json`.

In: what was asked, and the verdicts. Out: the two files, and the text of the tables. What is not finished is named and
takes no part. Left out: sampling, and the logs (`engine`).
"""

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .estimates import LEVEL, RESAMPLES
from .published import COLUMNS
from .results import Result, average, difference, make_result
from .tables import CONTAMINATED, Results, detail_table, difference_table, overlap_of, pass_table, set_titles
from .writing import write_whole


PACKAGES = ("trl-real", "trl", "transformers", "torch", "vllm", "peft", "math-verify", "inspect-ai", "numpy")
COUNTED_AS_WRONG = ("unjudged", "timeouts")
Verdicts = Sequence[dict[str, Any]]
HOW = ("temperature", "top_p", "top_k", "max_new_tokens", "dtype", "backend", "seed")


def write_report(
    finished: Sequence[tuple[dict[str, Any], Verdicts]], missing: Sequence[str], output: Path, with_paper: bool
) -> str:
    """
    Writes the tables.

    Args:
        finished (`list[tuple]`):
            For each model and set what was asked, as [`make_result`] takes it, and the verdicts; the first model is
            what the others are compared with.
        missing (`list[str]`):
            What is to be said of sets that are not finished.
        output (`Path`):
            Folder of `table.md` and `results.json`.
        with_paper (`bool`):
            Whether the paper's rows stand beside.

    Returns:
        `str`: the content of `table.md`.
    """
    results: Results = {}
    for about, verdicts in finished:
        result = make_result(about, verdicts)
        results.setdefault(result.model, {})[result.set] = result
    notes = [f"Left out: {reason}" for reason in missing]
    if not results:
        raise ValueError("output: no set is finished. " + "; ".join(notes))
    parts = [pass_table(results, with_paper), detail_table(results), difference_table(results)]
    text = "\n\n".join([part for part in parts if part] + ["\n".join([*notes, *_notes(results, with_paper)])]) + "\n"
    write_whole(output / "results.json", json.dumps(_as_json(results), indent=1, ensure_ascii=False) + "\n")
    write_whole(output / "table.md", text)
    return text


def _notes(results: Results, with_paper: bool) -> list[str]:
    everything = [result for sets in results.values() for result in sets.values()]
    notes = [f"{LEVEL:.0%} intervals: bootstrap over the problems, {RESAMPLES:,} resamples."]
    if any(each.estimates["pass@1"].low == each.estimates["pass@1"].high for each in everything):
        notes.append("An interval without width says that all problems came out alike, not that the number is sure.")
    ways = {", ".join(f"{name} {each.settings['sampling'][name]}" for name in HOW): None for each in everything}
    notes += [f"Sampled with {way}." for way in ways]
    if with_paper and any(name in COLUMNS for name in set_titles(results)):
        notes.append("The paper: mean of 16 samples, temperature 0.6, top_p 0.95, 8,192 tokens; * cited there.")
    for each in everything:
        if overlap := overlap_of(each):
            notes.append(
                f"{CONTAMINATED.strip()} {each.model} was trained on {overlap[0]}, which holds at least {overlap[1]} "
                f"problems of {each.settings['title']}: its number there says little (docs/contamination.md)."
            )
        unjudged, timeouts = (each.estimates[name].value if name in each.estimates else 0 for name in COUNTED_AS_WRONG)
        if unjudged:
            notes.append(f"{each.model} on {each.set}: {unjudged:.1%} could not be judged and count as wrong.")
        if timeouts:
            notes.append(f"{each.model} on {each.set}: the verifier gave up on {timeouts:.2%}, which count as wrong.")
    for model, sets in results.items():
        thinks = [each for each in sets.values() if each.settings["judge"].get("require_think")]
        if thinks and all(each.estimates["no_answer"].value == 1 for each in thinks):
            notes.append(f"{model}: no answer stands behind </think>; --require_think false takes it from anywhere.")
    return notes


def _as_json(results: Results) -> dict[str, Any]:
    models: dict[str, Any] = {}
    titles = set_titles(results)
    for model, sets in results.items():
        whole = len(sets) == len(titles)  # an average over fewer sets could not be compared
        models[model] = {
            "average": asdict(average(list(sets.values()))) if whole else None,
            "sets": {name: _set_json(each) for name, each in sets.items()},
        }
    base, *others = results
    for model in others:
        both = [name for name in results[base] if name in results[model]]
        pairs = {name: difference([results[base][name]], [results[model][name]]) for name in both}
        models[model]["difference"] = {name: pair and asdict(pair) for name, pair in pairs.items()}
    about = {"python": platform.python_version(), "commit": _commit(), "level": LEVEL, "resamples": RESAMPLES}
    return about | {"versions": _versions(), "first_model": base, "models": models}


def _set_json(result: Result) -> dict[str, Any]:
    estimates = {name: asdict(estimate) for name, estimate in result.estimates.items()}
    return {"settings": result.settings, "estimates": estimates, "right": result.right}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of this package, if it lies in a repository of its own."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parents[2]),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # there is no git
        return None
    return run.stdout.strip() or None
