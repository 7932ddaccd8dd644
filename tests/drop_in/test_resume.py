"""A resumed run is the uninterrupted one; tests/checkpoints resumes adapters and runs that were killed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import fixed_reward, fixed_rollouts, prompts_dataset
from tests.support.trainers import GROUP, config, even_start, logged, trainer, weights
from trl_real import REALTrainer


STEPS = 8  # two optimizer steps per generation, two generations per epoch: two epochs


class Recorder:
    """A reward function that remembers the prompts of every generation."""

    __name__ = "recorder"

    def __init__(self, generated: bool):
        self.reward = even_start if generated else fixed_reward
        self.prompts: list[list[str]] = []

    def __call__(self, prompts: list[str], **kwargs: Any) -> list[float | None]:
        self.prompts.append(prompts[::GROUP])
        assert prompts == [prompt for prompt in prompts[::GROUP] for _ in range(GROUP)]  # complete groups
        return self.reward(prompts=prompts, **kwargs)


def run(folder: Path, generated: bool = False, resume: str | None = None, data: Any = None, **options: Any) -> Any:
    """Train to the end, from the beginning or from a checkpoint; rollouts are fixed or generated."""
    defaults = dict(max_steps=STEPS, save_strategy="steps", save_steps=1, lr_scheduler_type="constant")
    recorder = Recorder(generated)
    trained = trainer(
        folder,
        reward_funcs=recorder,
        train_dataset=data or prompts_dataset(8),
        args=config(folder, **defaults | options),
        rollout_func=None if generated else fixed_rollouts(),
    )
    trained.train(resume_from_checkpoint=resume)
    return trained, recorder.prompts


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[REALTrainer, Any]]:
    """Runs with a checkpoint after every step, by whether rollouts are generated."""
    return {generated: run(tmp_path_factory.mktemp("whole"), generated) for generated in (False, True)}


@pytest.mark.parametrize("generated", [False, True])
@pytest.mark.parametrize("step", [2, 4, 6])
def test_resuming_between_generations_is_exact(tmp_path: Path, step: int, generated: bool, uninterrupted: Any) -> None:
    whole, prompts = uninterrupted[generated]
    assert len(prompts) == 4 and prompts[:2] != prompts[2:]
    assert sorted(prompts[0] + prompts[1]) == sorted(prompts[2] + prompts[3]) == sorted(prompts_dataset(8)["prompt"])
    checkpoint = f"{whole.args.output_dir}/checkpoint-{step}"
    resumed, later_prompts = run(tmp_path / "resumed", generated, resume=checkpoint)
    assert later_prompts == prompts[step // 2 :]
    assert resumed.state.global_step == STEPS
    for name, value in weights(whole.model).items():
        torch.testing.assert_close(dict(resumed.model.named_parameters())[name], value, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_resuming_within_a_generation_repeats_its_prompts(tmp_path: Path, step: int, uninterrupted: Any) -> None:
    whole, prompts = uninterrupted[False]
    _, later_prompts = run(tmp_path / "resumed", resume=f"{whole.args.output_dir}/checkpoint-{step}")
    assert later_prompts == prompts[step // 2 :]


def test_resuming_inside_a_generation_that_is_used_twice_runs_the_rest_of_both_rounds(tmp_path: Path) -> None:
    """After the first of 4 steps: the second of the first round, then both again with old log-probabilities."""
    whole, prompts = run(tmp_path, num_iterations=2)
    assert len(prompts) == 2
    checkpoint = f"{whole.args.output_dir}/checkpoint-1"
    resumed, later_prompts = run(tmp_path / "resumed", resume=checkpoint, num_iterations=2)
    assert later_prompts == prompts
    assert resumed.state.global_step == STEPS and logged(resumed, "scores/abs_mean")[-1] > 0


def test_without_the_data_skip_a_resumed_run_begins_with_a_complete_generation(tmp_path: Path) -> None:
    whole, prompts = run(tmp_path, max_steps=7)
    checkpoint = f"{whole.args.output_dir}/checkpoint-1"
    _, later_prompts = run(tmp_path / "resumed", resume=checkpoint, max_steps=7, ignore_data_skip=True)
    assert len(later_prompts) == 3  # 6 steps, 2 in each; of a generation begun in its middle the first would have 1
    assert later_prompts[0] == prompts[0]


@pytest.mark.parametrize("step", [2, 3])
def test_resuming_in_a_stream_goes_on_with_its_prompts(tmp_path: Path, step: int) -> None:
    stream = prompts_dataset(16).to_iterable_dataset()
    whole, prompts = run(tmp_path, data=stream)
    _, later_prompts = run(tmp_path / "resumed", resume=f"{whole.args.output_dir}/checkpoint-{step}", data=stream)
    assert len(prompts) == 4 and later_prompts == prompts[step // 2 :]
