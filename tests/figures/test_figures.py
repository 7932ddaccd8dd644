"""The figures of runs: lines, legends and files, from logs alone."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


matplotlib_image = pytest.importorskip("matplotlib.image", reason="needs the extra `plots`")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from trl_real.cli.figures import main  # noqa: E402
from trl_real.figures.run_log import Run  # noqa: E402
from trl_real.figures.scores import draw_scores  # noqa: E402
from trl_real.figures.training import draw_comparison, draw_training, smooth  # noqa: E402
from trl_real.metrics.histograms import HISTOGRAMS, SCORE_EDGES, WEIGHT_BINS  # noqa: E402


STEPS_PER_GENERATION = 4


def example_log(steps: int, gain: float = 0.5) -> list[dict[str, Any]]:
    """What a run of REALTrainer logs: rewards and groups with each generation, entropy and scores with each step."""
    log: list[dict[str, Any]] = [{"step": 0, "eval_reward": 0.3}]
    for step in range(1, steps + 1):
        done = step / steps
        log.append({"step": step, "entropy": 2 - done} | example_counts(step))
        if step % STEPS_PER_GENERATION == 1:
            groups = {"groups/all_correct": done / 2, "groups/mixed": 0.5, "groups/all_incorrect": 0.5 - done / 2}
            log[-1] |= {"reward": 0.3 + gain * done, "frac_reward_zero_std": 0.5, **groups}
        if step % 8 == 0:
            log.append({"step": step, "eval_reward": 0.3 + gain * done})
    return log + [{"step": steps, "train_loss": 1.0}]


def example_counts(step: int) -> dict[str, list[int]]:
    """Three right rollouts and one wrong one; at score 0 in the first step of a generation, far from it later."""
    place = 10 if step % STEPS_PER_GENERATION == 1 else 15
    bins = [len(SCORE_EDGES) + 1] * 2 + [WEIGHT_BINS] * 2
    places = [place, 20 - place, 5, 10]
    table = zip(HISTOGRAMS, bins, places, [3, 1, 3, 1], strict=True)
    return {name: [count * (index == where) for index in range(number)] for name, number, where, count in table}


def grpo_log(steps: int) -> list[dict[str, Any]]:
    """The same of GRPOTrainer, which knows neither labels nor scores."""
    return [
        {key: value for key, value in record.items() if not key.startswith(("groups/", "scores/", "weights/"))}
        for record in example_log(steps, gain=0.25)
    ]


def write_run(folder: Path, log: list[dict[str, Any]]) -> str:
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    return str(folder)


def panel(figure: Figure, title: str) -> Axes:
    [axes] = [axes for axes in figure.axes if axes.get_title().startswith(title)]
    return axes


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def training(*runs: Run, **options: Any) -> Figure:
    figure = Figure()
    draw_training(figure, list(runs), **options)
    return figure


def test_a_short_run_is_drawn_as_it_was_logged() -> None:
    figure = training(Run("one", example_log(16)))
    assert lines(panel(figure, "Reward")) == [([1, 5, 9, 13], [0.3 + 0.5 * step / 16 for step in (1, 5, 9, 13)])]
    assert lines(panel(figure, "Held-out")) == [([0, 8, 16], [0.3, 0.55, 0.8])]
    assert lines(panel(figure, "Entropy"))[0][1] == [2 - step / 16 for step in range(1, 17)]


def test_the_groups_of_one_run_are_bars_as_wide_as_a_generation() -> None:
    bars = panel(training(Run("one", example_log(16))), "Groups").patches
    assert [bar.get_x() for bar in bars[:4]] == [0, 4, 8, 12] and {bar.get_width() for bar in bars} == {4}
    assert [bar.get_height() for bar in bars[:4]] == [step / 32 for step in (1, 5, 9, 13)]
    tops = [sum(bar.get_height() for bar in bars[first::4]) for first in range(4)]
    assert tops == pytest.approx([1, 1, 1, 1])
    assert panel(training(Run("one", example_log(400))), "Groups").collections  # areas


def test_a_long_run_is_smoothed_with_the_raw_values_behind() -> None:
    (steps, raw), (same_steps, smoothed) = lines(panel(training(Run("one", example_log(400))), "Entropy"))
    assert steps == same_steps == list(range(1, 401)) and raw[-1] == 1
    assert smoothed == smooth(raw, 40) and smoothed[-1] > 1


def test_the_solved_groups_are_compared_by_what_every_run_logs() -> None:
    real, grpo = Run("REAL", example_log(16)), Run("GRPO", grpo_log(16))
    solved = panel(training(real, Run("BCE", example_log(16, 0.2))), "All-correct groups")
    assert lines(solved)[0][1] == [step / 32 for step in (1, 5, 9, 13)]
    assert lines(panel(training(real, grpo), "Groups with equal rewards")) == [([1, 5, 9, 13], [0.5] * 4)] * 2
    assert lines(panel(training(grpo), "Groups with equal rewards")) == [([1, 5, 9, 13], [0.5] * 4)]


def test_a_panel_names_what_was_not_logged() -> None:
    silent = Run("silent", [{"step": 1, "reward": 0.5}, {"step": 2, "reward": None}])
    figure = training(Run("REAL", example_log(16)), silent)
    assert texts(panel(figure, "Held-out")) == texts(panel(figure, "All-correct")) == ["not logged: silent"]
    assert texts(panel(figure, "Reward")) == []
    alone = training(silent)
    assert texts(panel(alone, "Held-out")) == texts(panel(alone, "Entropy")) == ["not logged"]
    assert lines(panel(alone, "Reward")) == [([1], [0.5])]
    assert [texts(axes) for axes in training(Run("empty", [])).axes] == [["not logged"]] * 4


def test_a_comparison_names_the_last_value_of_each_line() -> None:
    figure = Figure()
    draw_comparison(figure, [Run("REAL", example_log(16)), Run("GRPO", grpo_log(16)), Run("silent", [])])
    heldout = panel(figure, "Held-out")
    assert [text.get_text() for text in heldout.get_legend().get_texts()] == ["REAL  0.800", "GRPO  0.550"]
    assert texts(heldout) == ["not logged: silent"]
    draw_comparison(Figure(), [Run("silent", [])])


def test_standard_errors_are_bars_or_a_band_and_stand_beside_the_last_value() -> None:
    logs = [example_log(steps) for steps in (16, 400)]
    for record in (record for log in logs for record in log if "eval_reward" in record):
        record["eval_reward_stderr"] = 0.05
    short, long = (panel(training(Run("one", log)), "Held-out") for log in logs)
    [bars] = [each for each in short.containers if each.has_yerr]
    assert bars[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.25, 0.35])
    [band] = long.collections
    assert band.get_paths()[0].get_extents().ymin == pytest.approx(0.25)
    figure = Figure()
    draw_comparison(figure, [Run("a", logs[0]), Run("b", example_log(16))])
    legend = panel(figure, "Held-out").get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["a  0.800 ± 0.050", "b  0.800"]


def test_one_of_several_evaluation_sets_is_drawn_by_its_name() -> None:
    log = [{"step": 1, "eval_easy_reward": 0.9, "eval_hard_reward": 0.1, "eval_rewards/judge": 5.0}]
    heldout = panel(training(Run("one", log), eval_set="hard"), "Held-out pass@1 on hard")
    assert lines(heldout) == [([1], [0.1])]
    with pytest.raises(ValueError, match="^eval_set: several sets were evaluated; name one of easy, hard"):
        training(Run("one", log))
    with pytest.raises(ValueError, match="^eval_set: medium was not evaluated, only easy, hard"):
        training(Run("one", log), eval_set="medium")
    only = [{"step": 1, "eval_easy_reward": 0.9}]
    assert lines(panel(training(Run("one", only)), "Held-out pass@1 on easy")) == [([1], [0.9])]


def maps(log: list[dict[str, Any]]) -> tuple[list[np.ndarray], list[np.ndarray], Figure]:
    """Shares and column edges of the four maps: scores of right and wrong rollouts, then weights."""
    figure = Figure()
    draw_scores(figure, Run("one", log))
    meshes = [axes.collections[0] for axes in figure.axes if axes.get_title().endswith((": scores", ": weights"))]
    return [mesh.get_array() for mesh in meshes], [mesh.get_coordinates()[0, :, 0] for mesh in meshes], figure


def test_a_column_has_the_shares_of_its_step() -> None:
    shares, edges, _ = maps(example_log(16))
    assert [table.shape for table in shares] == [(21, 16)] * 2 + [(20, 16)] * 2
    assert all(column.tolist() == list(range(17)) for column in edges)
    assert shares[0].argmax(axis=0).tolist() == [10, 15, 15, 15] * 4
    assert shares[1].argmax(axis=0).tolist() == [10, 5, 5, 5] * 4
    assert all(table.sum(axis=0).tolist() == [1] * 16 for table in shares)


def test_steps_without_a_rollout_are_left_blank_and_one_record_is_enough() -> None:
    empty = {name: [0] * len(counts) for name, counts in example_counts(1).items()}
    shares, edges, _ = maps([{"step": 10, **empty}])
    assert all(np.ma.getmaskarray(table).all() or np.isnan(table).all() for table in shares)
    assert edges[0].tolist() == [0, 10]
    shares, edges, _ = maps([{"step": 10, **example_counts(1)}, {"step": 20, **empty}])
    assert shares[0][10, 0] == 1 and edges[0].tolist() == [0, 10, 20]


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, str]:
    """Folders of a run of REALTrainer and one of GRPOTrainer."""
    return {"real": write_run(tmp_path / "real", example_log(48)), "grpo": write_run(tmp_path / "grpo", grpo_log(48))}


@pytest.mark.parametrize(
    "command",
    [
        "gradients",
        "gradients --tau 0.5 1 --loss_type real bce --correct 2 --incorrect 6 --epsilon 0.1",
        "training {real}",
        "training {real}/trainer_state.json baseline={grpo}",
        "compare {real} {grpo}",
        "scores {real}",
    ],
)
def test_every_command_writes_a_picture_on_opaque_white(tmp_path: Path, runs: dict[str, str], command: str) -> None:
    picture = tmp_path / "figure.png"
    main([*command.format(**runs).split(), "--output", str(picture)])
    pixels = matplotlib_image.imread(picture)
    assert (pixels[..., 3] == 1).all() and (pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 1).all()
    assert (pixels[..., :3] != 1).any()
    assert picture.stat().st_size < 150_000


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("training {real} {real}", "real: is the name of 2 runs"),
        ("training {many}", "runs: more than 7 cannot be told apart in one figure, got 8"),
        ("compare {real} --eval_set aime24", "eval_set: aime24 was not evaluated"),
        ("scores {grpo}", "grpo: its log has no `scores/positive_histogram`"),
        ("scores {real} --output new/figure.png", "output: there is no folder new; create it"),
        ("gradients --tau 0", "`tau` must be a finite number above 0"),
    ],
)
def test_a_bad_command_ends_in_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, str], command: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    many = " ".join(f"{index}={runs['real']}" for index in range(8))
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        main(command.format(**runs, many=many).split())
    assert not list(tmp_path.glob("*.*"))


def test_the_path_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    main(["gradients"])
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'gradients.png'}\n"
    main(["gradients"])
    assert capsys.readouterr().out == f"Replaced {tmp_path / 'gradients.png'}\n"


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trl_real.figures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"trl-real\[plots\]"):
        importlib.import_module("trl_real.figures")
