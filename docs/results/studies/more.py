"""
What docs/results.md has beyond the report of `trl-real compare`: curves, costs, and how far scores went.

    python docs/results/studies/more.py chain5 --output_dir docs/results/chain5

In: a study of this folder, and its records. Out: figures, and tables appended to the `tables.md` of
`trl-real compare --report`: what a level of pass@1 costs, how far the scores of each run of REAL went, and which runs
the warning of `trl_real/metrics/drift.py` would have caught.
"""

import argparse
from pathlib import Path

from trl_real.comparison.figure import BELOW, wrap_title
from trl_real.comparison.records import (
    Record,
    chosen_records,
    curve_mean,
    distinct,
    mean_of,
    read_records,
    select,
    t_interval,
)
from trl_real.comparison.study import read_studies, records_of
from trl_real.comparison.tables import COLUMNS, compare_rows, markdown_table
from trl_real.figures.style import LOOKS, new_figure
from trl_real.metrics.drift import DriftWatch
from trl_real.recipe.shipped import recipes_folder


HERE = Path(__file__).parent
# By study: methods whose curves are drawn, and levels of pass@1 whose costs are tabled and drawn
CURVES = {"main": ["REAL", "REAL without anchor", "REAL KL limit", "GRPO", "DAPO", "CISPO", "VESPO"]}
LEVELS = {"arithmetic": 0.5}
# Studies of choose.yaml by the share of rollouts that the verifier misjudges
ERRORS = {
    "incorrect rollouts judged correct": {0: "noise_0"} | {k: f"noise_correct_{k}" for k in (1, 3, 10)},
    "correct rollouts judged incorrect": {0: "noise_0"} | {k: f"noise_incorrect_{k}" for k in (5, 20)},
}
ERROR_METHODS = ["REAL", "GRPO", "DAPO"]
# Studies of choose.yaml that are drawn against the learning rate, and the methods between REAL and GRPO
RATES = {"Chains of 5": "engine", "Chains of 8, rare successes": "rare_16_engine"}
RATE_METHODS = {
    "REAL": "REAL",
    "GRPO loss": "GRPO's loss, complete groups",
    "GRPO without clip and KL": "GRPO's loss, TRL's batches",
    "GRPO": "the same with clip and KL: GRPO",
    "REAL score_clip 0.02": "REAL, score_clip 0.02",
}


def cost_of_level(record: Record, level: float, cost: str) -> float | None:
    """
    The `"step"`, sampled `"tokens"` or `"cpu"` seconds at which the probe first saw this value of the metric, on a
    straight line between its points; `None` if it never did.
    """
    passes, costs = record["probe"]["pass"], record["probe"][cost]
    if passes[0] >= level:
        return costs[0]
    for index in range(1, len(passes)):
        if passes[index] >= level:
            share = (level - passes[index - 1]) / (passes[index] - passes[index - 1])
            return costs[index - 1] + share * (costs[index] - costs[index - 1])
    return None


def cost_table(records: list[Record], level: float) -> str:
    """What every method costs in all and until a level of pass@1, at its chosen learning rate."""
    rows = []
    for row in compare_rows(records):
        chosen, cells = row.best, [COLUMNS[name](row) for name in ("method", "lr", "seeds", "test pass@1", "CPU s")]
        costs = {cost: [cost_of_level(record, level, cost) for record in chosen] for cost in ("step", "tokens", "cpu")}
        reached = sum(value is not None for value in costs["cpu"])
        until = [f"{t_interval(values):.0f}" if None not in values else "" for values in costs.values()]
        rows.append([*cells, f"{reached} of {len(chosen)}", *until])
    columns = ["method", "lr", "seeds", "test pass@1", "CPU s in all", f"reached {level:g}"]
    return markdown_table([*columns, "steps until then", "sampled tokens", "CPU s without scoring"], rows)


def is_warned(record: Record, tau: float) -> bool:
    """Whether [`DriftWatch`] would have warned, nearly: it sees the points of a curve, means over several steps."""
    steps = max(1, record["probe"]["step"][-1] // max(map(len, record["curve"].values())))
    watch = DriftWatch(tau)
    for right, size in zip(record["curve"]["positive_score"], record["curve"]["abs_score"], strict=True):
        metrics = {"scores/positive_mean": right, "scores/abs_mean": size}
        if right is not None and any(watch.warning(metrics) for _ in range(steps)):
            return True
    return False


def drift_table(studies: dict[str, list[Record]]) -> str:
    """
    How far scores went with every method and learning rate of REAL, and how many of the runs would have been warned.

    Args:
        studies (`dict[str, list[Record]]`):
            Records by study, each with the `tau` it was trained with; `None` if the warning is off.
    """
    rows, seen = [], set()
    for study, records in studies.items():
        scored = [record for record in records if "abs_score" in record["curve"]]
        for method in distinct(scored, "method"):
            for rate in sorted(distinct(select(scored, method=method), "learning_rate")):
                runs = select(scored, method=method, learning_rate=rate)
                if (runs[0]["settings"], rate) in seen:
                    continue  # the same runs as in an earlier study
                seen.add((runs[0]["settings"], rate))
                size, right = (mean_of(runs, curve_mean(name)) for name in ("abs_score", "positive_score"))
                warned = f"{sum(is_warned(run, run['tau']) for run in runs if run['tau'])} of {len(runs)}"
                numbers = [f"{t_interval([run['test'] for run in runs]):.3f}", f"{size:.4f}", f"{right:+.4f}"]
                rows.append([study, method, f"{rate:g}", *numbers, warned if runs[0]["tau"] else "off"])
    columns = ["study", "method", "lr", "test pass@1", "mean abs score", "mean score of correct ones", "warned"]
    return markdown_table(columns, rows)


def draw_curves(records: list[Record], methods: list[str], title: str, path: Path) -> None:
    """Means over seeds of what the probe saw, the same held-out prompts for every method, at its chosen rate."""
    with new_figure(path, 9, 4, title) as figure:
        panels = figure.subplots(1, 2)
        for panel, curve, name in zip(
            panels, ("pass", "entropy"), ("pass@1", "entropy (nats per token)"), strict=True
        ):
            for method, look in zip(methods, LOOKS, strict=False):
                chosen = chosen_records(select(records, method=method))
                label = f"{method}, lr {chosen[0]['learning_rate']:g}"
                panel.plot(chosen[0]["probe"]["step"], _means(chosen, curve), **look, label=label)
            panel.set_title(f"Held-out {name}")
            panel.set_xlabel("optimizer step")
            panel.set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, **BELOW)


def draw_costs(records: list[Record], title: str, path: Path) -> None:
    """Held-out pass@1 of every method, mean over seeds at its chosen rate, against three things that it costs."""
    axes = dict(step="optimizer steps", tokens="sampled tokens", cpu="CPU seconds, without scoring")
    with new_figure(path, 9, 3.9, title) as figure:
        panels = figure.subplots(1, len(axes), sharey=True)
        for panel, (cost, name) in zip(panels, axes.items(), strict=True):
            for method, look in zip(distinct(records, "method"), LOOKS, strict=False):
                chosen = chosen_records(select(records, method=method))
                errors = [t_interval(values).half_width for values in _columns(chosen, "pass")]
                label = f"{method}, lr {chosen[0]['learning_rate']:g} ({len(chosen)} seeds)"
                panel.errorbar(
                    _means(chosen, cost), _means(chosen, "pass"), yerr=errors, capsize=2, label=label, **look
                )
            panel.set_xlabel(name)
            panel.set_xlim(left=0)
            panel.set_ylim(0, 1)
        panels[0].set_ylabel("held-out pass@1, 95% interval over seeds")
        figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, **BELOW)


def draw_errors(known: dict[str, list[Record]], path: Path) -> None:
    """Test pass@1, judged by the truth, of every method against the share of rollouts that its verifier misjudged."""
    with new_figure(path, 9, 3.6, "Chains of 5, trained with a verifier that errs") as figure:
        panels = figure.subplots(1, len(ERRORS), sharey=True)
        for panel, (kind, studies) in zip(panels, ERRORS.items(), strict=True):
            there = {share: known[study] for share, study in studies.items() if known[study]}
            for method, look in zip(ERROR_METHODS, LOOKS, strict=False):
                runs = [chosen_records(select(records, method=method)) for records in there.values()]
                tests = [t_interval([record["test"] for record in chosen]) for chosen in runs]
                means, errors = [test.mean for test in tests], [test.half_width for test in tests]
                panel.errorbar([*there], means, yerr=errors, capsize=2, label=method, **look)
            panel.set_xlabel(f"% of {kind}")
            panel.set_xticks([*there])
        panels[0].set_ylabel("test pass@1")
        figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, **BELOW)


def draw_rates(known: dict[str, list[Record]], path: Path) -> None:
    """Test pass@1 of the methods between REAL and GRPO, mean over all seeds trained, against the learning rate."""
    with new_figure(path, 9, 3.6, "Test pass@1 against the learning rate") as figure:
        panels = figure.subplots(1, len(RATES), sharey=True)
        for panel, (title, study) in zip(panels, RATES.items(), strict=True):
            for (method, label), look in zip(RATE_METHODS.items(), LOOKS, strict=False):
                runs = select(known[study], method=method)
                rates = sorted(distinct(runs, "learning_rate"))
                means = [mean_of(select(runs, learning_rate=rate), lambda run: run["test"]) for rate in rates]
                panel.plot(rates, means, **look, label=label)
            panel.set_title(title)
            panel.set_xscale("log")
            panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
            panel.minorticks_off()
            panel.set_xlabel("learning rate")
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel("test pass@1")
        figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, **BELOW)


def _columns(records: list[Record], name: str) -> list[tuple[float, ...]]:
    return list(zip(*(record["probe"][name] for record in records), strict=True))


def _means(records: list[Record], name: str) -> list[float]:
    return [sum(values) / len(values) for values in _columns(records, name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="chain5, smollm2, reasoning or choose")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of tables.md")
    arguments = parser.parse_args()
    records, folder, parts = read_records(HERE.parent / f"{arguments.name}.jsonl"), arguments.output_dir, []
    studies = read_studies(HERE / f"{arguments.name}.yaml", recipes_folder())
    known = {study.name: records_of(study, records) for study in studies}
    for study in studies:
        mine, title = known[study.name], wrap_title(study)
        if study.name in CURVES:
            draw_curves(mine, CURVES[study.name], title, folder / f"{study.name}_curves.png")
        if study.name in LEVELS:
            draw_costs(mine, title, folder / f"{study.name}_costs.png")
            parts.append(f"### {study.title}: what it costs\n\n{cost_table(mine, LEVELS[study.name])}\n")
    if arguments.name == "choose":
        draw_errors(known, folder / "errors.png")
        draw_rates(known, folder / "rates.png")
    parts.append(f"### Scores in every run of REAL\n\n{drift_table(known)}\n")
    with (folder / "tables.md").open("a") as page:
        page.write("".join(f"\n{part}" for part in parts))


if __name__ == "__main__":
    main()
