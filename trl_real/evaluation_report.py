"""
From stores of samples to `table.md` and `results.json`.

In: stores. Out: the two files and the text of the tables. Stores that lack samples are named and left out. Left out:
sampling.
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
from .evaluation_tables import Results, detail_table, difference_table, pass_table, set_titles
from .published import COLUMNS
from .results import Result, average, difference, make_result
from .samples import SampleStore
from .verdicts import judge_samples
from .writing import write_lines, write_whole


PACKAGES = ("trl-real", "trl", "transformers", "torch", "vllm", "peft", "math-verify", "numpy")
HOW = ("temperature", "top_p", "top_k", "max_new_tokens", "dtype", "backend", "seed")


def write_report(stores: Sequence[SampleStore], output: Path, with_paper: bool) -> str:
    """
    Judges the samples and writes the tables.

    Args:
        stores (`list[SampleStore]`):
            The stores; the first model is what the others are compared with.
        output (`Path`):
            Folder of `table.md` and `results.json`.
        with_paper (`bool`):
            Whether the paper's rows stand beside.

    Returns:
        `str`: the content of `table.md`.
    """
    results: Results = {}
    notes = []
    for store in stores:
        lacking = store.lacking()
        if lacking:
            notes.append(
                f"Left out, {lacking} of {len(store.wanted)} samples are missing: {store.model} on {store.set}"
            )
        else:
            results.setdefault(store.model, {})[store.set] = _judge(store)
    if not results:
        raise ValueError("output: no set is finished. " + "; ".join(notes))
    parts = [pass_table(results, with_paper), detail_table(results), difference_table(results)]
    text = "\n\n".join([part for part in parts if part] + ["\n".join([*notes, *_notes(results, with_paper)])]) + "\n"
    write_whole(output / "results.json", json.dumps(_as_json(results), indent=1, ensure_ascii=False) + "\n")
    write_whole(output / "table.md", text)
    return text


def _judge(store: SampleStore) -> Result:
    verdicts = judge_samples(store.samples(), store.problems, store.settings["judge"])
    write_lines(store.folder / "verdicts.jsonl", verdicts)
    return make_result(store, verdicts)


def _notes(results: Results, with_paper: bool) -> list[str]:
    everything = [result for sets in results.values() for result in sets.values()]
    ways = {", ".join(f"{name} {each.settings['sampling'][name]}" for name in HOW): None for each in everything}
    notes = [f"{LEVEL:.0%} intervals: bootstrap over the problems, {RESAMPLES:,} resamples."]
    notes += [f"Sampled with {way}." for way in ways]
    if with_paper and any(name in COLUMNS for name in set_titles(results)):
        notes.append("The paper: mean of 16 samples, temperature 0.6, top_p 0.95, 8,192 tokens; * cited there.")
    for each in everything:
        where = f"{each.model} on {each.set}"
        if each.estimates["unjudged"].value:
            notes.append(f"{where}: {each.estimates['unjudged'].value:.1%} could not be judged and count as wrong.")
        if "timeouts" in each.estimates and each.estimates["timeouts"].value:
            notes.append(
                f"{where}: the verifier gave up on {each.estimates['timeouts'].value:.2%}, which count as wrong."
            )
        if each.settings["judge"].get("require_think") and each.estimates["no_answer"].value == 1:
            notes.append(f"{where}: no answer stands behind </think>; --require_think false takes it from anywhere.")
    return notes


def _as_json(results: Results) -> dict[str, Any]:
    models: dict[str, Any] = {}
    for model, sets in results.items():
        parts = list(sets.values())
        models[model] = {
            "average": asdict(average(parts)),
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
        str(Path(__file__).parents[1]),
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
