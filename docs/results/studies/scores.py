"""
How far scores went in every run of REAL, and which runs the warning of `trl_real/metrics/drift.py` would have caught.

    python docs/results/studies/scores.py chain5 --output_dir docs/results/chain5

In: a study of this folder, and its records. Out: a table, appended to the `tables.md` of `trl-real compare --report`.
"""

import argparse
from pathlib import Path

from trl_real.comparison.records import Record, curve_mean, distinct, mean_of, read_records, select, t_interval
from trl_real.comparison.study import read_studies, records_of
from trl_real.comparison.tables import markdown_table
from trl_real.metrics.drift import DriftWatch
from trl_real.recipe.shipped import recipes_folder


HERE = Path(__file__).parent


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
    columns = ["study", "method", "lr", "test pass@1", "mean abs score", "mean score of right ones", "warned"]
    return markdown_table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="chain5, smollm2 or reasoning")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of tables.md")
    arguments = parser.parse_args()
    records = read_records(HERE.parent / f"{arguments.name}.jsonl")
    studies = read_studies(HERE / f"{arguments.name}.yaml", recipes_folder())
    table = drift_table({study.name: records_of(study, records) for study in studies})
    with (arguments.output_dir / "tables.md").open("a") as page:
        page.write(f"\n### Scores in every run of REAL\n\n{table}\n")


if __name__ == "__main__":
    main()
