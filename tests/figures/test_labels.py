"""What is labelled, from the tables of completions of a real run."""

from pathlib import Path

import pytest


pytest.importorskip("matplotlib", reason="needs the extra `plots`")
from matplotlib import rc_context  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tests.support.tiny import prompts_dataset  # noqa: E402
from tests.support.trainers import config, trainer  # noqa: E402
from trl_real.figures import main  # noqa: E402
from trl_real.figures.labels import draw_labels, read_completions, reward_column  # noqa: E402
from trl_real.figures.style import SETTINGS  # noqa: E402


def even_share(completion_ids: list[list[int]], **kwargs: object) -> list[float]:
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def constant(completion_ids: list[list[int]], **kwargs: object) -> list[float]:
    return [0.5] * len(completion_ids)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four optimizer steps, two for each generation of 16 rollouts, labelled by rank."""
    folder = tmp_path_factory.mktemp("graded")
    options = dict(label_rule="group_quantile", label_reward_func="even_share", log_completions=True, max_steps=4)
    trainer(folder, args=config(folder, **options), reward_funcs=[even_share, constant]).train()
    return folder / "run"


def test_every_rollout_is_read_once_though_each_of_two_steps_wrote_it(run: Path) -> None:
    assert len(list(run.glob("completions/*.parquet"))) == 4
    rollouts = read_completions(run)
    assert rollouts.groupby("step").size().to_dict() == {1: 16, 3: 16}


def test_the_rollouts_of_an_evaluation_are_no_generation(tmp_path: Path) -> None:
    options = dict(label_rule="group_quantile", log_completions=True, max_steps=4)
    options |= dict(eval_strategy="steps", eval_steps=2, eval_on_start=True, num_generations_eval=2)
    run = trainer(tmp_path, args=config(tmp_path, **options), reward_funcs=even_share, eval_dataset=prompts_dataset(4))
    run.train()
    folder = tmp_path / "run"
    assert read_completions(folder)["step"].unique().tolist() == [1, 2, 3, 4]  # without a log, but for the first
    run.save_state()
    assert read_completions(folder).groupby("step").size().to_dict() == {1: 16, 3: 16}


def test_bars_are_the_shares_of_the_labels_and_the_histogram_holds_every_rollout(run: Path) -> None:
    rollouts = read_completions(run)
    with rc_context(SETTINGS):
        figure = Figure()
        draw_labels(figure, rollouts, "even_share")
    over_run, spread = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in over_run.containers]
    of_first = rollouts[rollouts["step"] == 1]["label"]
    counts = [(of_first == 1).sum(), of_first.isna().sum(), (of_first == 0).sum()]
    assert [shares[0] for shares in heights] == pytest.approx([count / 16 for count in counts]) and all(counts)
    assert sum(bar.get_height() for bars in spread.containers for bar in bars) == len(rollouts)
    wrong, right = (rollouts[rollouts["label"] == label]["even_share"].mean() for label in (0, 1))
    assert wrong < right


def test_the_command_asks_which_reward_and_says_what_is_missing(run: Path, tmp_path: Path) -> None:
    assert reward_column(read_completions(run), "constant") == "constant"
    with pytest.raises(SystemExit, match="reward: name one of even_share, constant"):
        main(["labels", str(run), "--output", str(tmp_path / "labels.png")])
    with pytest.raises(SystemExit, match="train with log_completions=True"):
        main(["labels", str(tmp_path)])
    main(["labels", str(run), "--reward", "even_share", "--output", str(tmp_path / "labels.png")])
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")
