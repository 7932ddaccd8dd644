"""
The tables of an evaluation, `table.md` and `results.json`: pass@1 with intervals like the paper's Table 1, details of
each model and set, differences to the first model, notes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .estimates import LEVEL, RESAMPLES, Estimate
from .results import Result, average, difference
from .trained_on import known_overlap


Results = dict[str, dict[str, Result]]  # by model, then by set

NOTHING = "–"
CONTAMINATED = "†"
HOW = ("temperature", "top_p", "top_k", "max_new_tokens", "dtype", "backend")
COLUMNS = ("aime24", "aime25", "math500", "amc23", "minerva", "olympiad")
# Pass@1 in arXiv 2602.05630; rows with * are cited there. Last its printed average, sometimes off by 0.001.
TABLES: dict[str, dict[str, tuple[float | None, ...]]] = {
    "1.5B on DeepScaleR-Preview (Table 1)": {
        "OpenAI-o1-Preview*": (0.400, None, 0.814, None, None, None, None),
        "DS-Distill-Qwen-1.5B*": (0.181, 0.215, 0.758, 0.515, 0.237, 0.353, 0.376),
        "DSR-1.5B-Preview*": (0.358, 0.258, 0.860, 0.679, 0.297, 0.473, 0.488),
        "GRPO": (0.235, 0.229, 0.824, 0.600, 0.264, 0.435, 0.431),
        "DAPO": (0.298, 0.215, 0.837, 0.663, 0.295, 0.448, 0.459),
        "TRPA*": (0.354, 0.235, 0.835, 0.653, 0.283, 0.458, 0.470),
        "GSPO": (0.377, 0.296, 0.877, 0.730, 0.326, 0.506, 0.519),
        "REAL": (0.406, 0.321, 0.877, 0.734, 0.310, 0.508, 0.526),
    },
    "7B on DeepScaleR-Preview (Table 2)": {
        "DS-Distill-Qwen-7B*": (0.402, 0.292, 0.873, 0.688, 0.355, 0.471, 0.513),
        "GRPO*": (0.498, 0.394, 0.916, 0.807, 0.381, 0.555, 0.592),
        "DAPO*": (0.454, 0.335, 0.907, 0.799, 0.388, 0.535, 0.570),
        "TRPA*": (0.510, 0.367, 0.898, 0.779, 0.379, 0.534, 0.578),
        "GSPO": (0.525, 0.396, 0.926, 0.852, 0.402, 0.588, 0.615),
        "REAL": (0.571, 0.433, 0.929, 0.858, 0.402, 0.602, 0.632),
    },
}


def write_tables(found: Sequence[Result], missing: Sequence[str], output: Path, with_paper: bool) -> str:
    """Writes both files, with notes on what is missing; returns `table.md`."""
    results: Results = {}
    for result in found:
        results.setdefault(result.about["model"], {})[result.set] = result
    notes = [f"Omitted, not finished: {name}." for name in missing]
    if not results:
        raise ValueError("output: no set is finished. " + " ".join(notes))
    parts = [pass_table(results, with_paper), detail_table(results), difference_table(results)]
    text = "\n\n".join([part for part in parts if part] + ["\n".join([*notes, *_notes(results, with_paper)])]) + "\n"
    content = json.dumps(_as_json(results), indent=1, ensure_ascii=False) + "\n"
    (output / "results.json").write_text(content, "utf-8")
    (output / "table.md").write_text(text, "utf-8")
    return text


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def pass_table(results: Results, with_paper: bool = False) -> str:
    """Pass@1 with intervals: models down, sets across, and their average."""

    def cell(results: list[Result]) -> str:
        overlap = len(results) == 1 and known_overlap(results[0].about["training_data"], results[0].set)
        return _interval(average(results)) + (f" {CONTAMINATED}" if overlap else "")

    header, rows = _by_set("Pass@1", results, cell)
    names = list(_titles(results))
    for table, models in TABLES.items() if with_paper and set(names) & set(COLUMNS) else ():
        rows.append([f"*the paper, {table}*", *[""] * (len(header) - 1)])
        for model, (*columns, printed) in models.items():
            scores: dict[str, float | None] = dict(zip(COLUMNS, columns, strict=True))
            shown = [scores.get(name) for name in names]
            known = [score for score in shown if score is not None]
            mean = printed if tuple(names) == COLUMNS else np.mean(known) if len(known) == len(shown) else None
            values = [*shown, mean][: len(header) - 1]
            rows.append([model, *(NOTHING if value is None else f"{value:.3f}" for value in values)])
    return markdown(header, rows)


def difference_table(results: Results) -> str:
    """Pass@1 of the other models less that of the first, paired by problem; empty with one model."""
    first, base = next(iter(results.items()))

    def cell(others: list[Result]) -> str:
        ones = [base[other.set] for other in others if other.set in base]
        found = difference(ones, others) if len(ones) == len(others) else None
        return _interval(found, "+") if found else NOTHING

    header, rows = _by_set(f"Pass@1 less that of {first}", results, cell)
    return markdown(header, rows[1:]) if rows[1:] else ""


def detail_table(results: Results) -> str:
    """Pass@k, how many answers were truncated or missing, and how long they were."""
    there = {name for sets in results.values() for result in sets.values() for name in result.estimates}
    powers = sorted((name for name in there if "@" in name), key=lambda name: int(name.partition("@")[2]))
    metrics = [*powers, *(name for name in ("reward", "truncated", "no_answer", "tokens") if name in there)]
    rows = []
    for name, title in _titles(results).items():
        for model, sets in results.items():
            if name in sets:
                size, values = f"{len(sets[name].correct)} x {sets[name].samples}", sets[name].estimates
                forms = {metric: f"{estimate.value:.3f}" for metric, estimate in values.items()}
                forms["tokens"] = f"{values['tokens'].value:,.0f}"
                rows.append([title, model, size, *(forms.get(metric, NOTHING) for metric in metrics)])
    return markdown(["set", "model", "problems x samples", *(name.replace("_", " ") for name in metrics)], rows)


def _by_set(title: str, results: Results, cell: Callable[[list[Result]], str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: models down; across, the sets and, if there are several, all of them together."""
    titles = _titles(results)
    columns = [[name] for name in titles] + ([[*titles]] if len(titles) > 1 else [])
    rows = []
    for model, sets in results.items():
        there = [[sets[name] for name in column] if sets.keys() >= set(column) else None for column in columns]
        rows.append([model, *(cell(found) if found else NOTHING for found in there)])
    return [title, *titles.values(), *["Avg."] * (len(titles) > 1)], rows


def _titles(results: Results) -> dict[str, str]:
    """Titles of all sets: the paper's six in its order, then the others in theirs."""
    titles = {name: result.about["title"] for sets in results.values() for name, result in sets.items()}
    order = [name for name in COLUMNS if name in titles] + [name for name in titles if name not in COLUMNS]
    return {name: titles[name] for name in order}


def _interval(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (f"{number:{sign}.3f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _notes(results: Results, with_paper: bool) -> list[str]:
    everything = [result for sets in results.values() for result in sets.values()]
    notes = [f"{LEVEL:.0%} intervals: bootstrap over the problems, {RESAMPLES:,} resamples."]
    if any(each.estimates["pass@1"].low == each.estimates["pass@1"].high for each in everything):
        notes.append("An interval without width means that all problems have the same result, not certainty.")
    ways = {", ".join(f"{name} {each.about['sampling'][name]}" for name in HOW): None for each in everything}
    notes += [f"Sampled with {way}." for way in ways]
    if with_paper and set(_titles(results)) & set(COLUMNS):
        notes.append("The paper: mean of 16 samples, temperature 0.6, top_p 0.95, 8,192 tokens; * cited there.")
    for each in everything:
        model, values = each.about["model"], {name: estimate.value for name, estimate in each.estimates.items()}
        where = f"{model} on {each.set}"
        if overlap := known_overlap(each.about["training_data"], each.set):
            notes.append(
                f"{CONTAMINATED} {model} was trained on {overlap[0]}, which contains at least {overlap[1]} problems "
                f"of {each.about['title']}: its score there means little (docs/contamination.md)."
            )
        if values["unjudged"]:
            notes.append(f"{where}: {values['unjudged']:.1%} could not be judged and count as incorrect.")
        if values.get("timeouts"):
            notes.append(f"{where}: the verifier timed out on {values['timeouts']:.2%}, counted as incorrect.")
        if each.about["judge"].get("require_think") and values["no_answer"] == 1:
            notes.append(f"{where}: no answer follows </think>; try --report --require_think false.")
    return notes


def _as_json(results: Results) -> dict[str, Any]:
    first, base = next(iter(results.items()))
    models: dict[str, Any] = {model: {"sets": {}, "difference": {}} for model in results}
    for model, sets in results.items():
        for name, each in sets.items():
            estimates = {metric: asdict(estimate) for metric, estimate in each.estimates.items()}
            models[model]["sets"][name] = {"settings": each.about, "estimates": estimates, "correct": each.correct}
            pair = difference([base[name]], [each]) if name in base and model != first else None
            models[model]["difference"] |= {name: asdict(pair)} if pair else {}
    return {"level": LEVEL, "resamples": RESAMPLES, "first_model": first, "models": models}
