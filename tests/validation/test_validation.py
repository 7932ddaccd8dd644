"""Validation: exact by hand, in any batch and on two processes; its own sampling; the baselines are validated too."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from trl import GRPOConfig, GRPOTrainer

from tests.support.cuts import trainer_for
from tests.support.processes import together
from tests.support.tiny import fixed_reward, fixed_rollouts, prompts_dataset, tiny_model, tiny_tokenizer
from tests.support.trainers import config, even_start, logged, moved, trainer, weights
from tests.support.validation_runs import BATCHES, SIZES, TIMES, baseline, main, metrics, real
from trl_real import REALConfig, REALTrainer
from trl_real.validation.config import ValidationConfig
from trl_real.validation.trainer import ValidatingTrainer
from trl_real.validation.whole_set import deal_batches


END = 1  # end-of-sequence token
WHOLE_SET = ("eval_avg@", "eval_pass@", "eval_groups/", "eval_reward", "eval_frac", "eval_completions/")


@given(*[st.integers(0, 40), st.integers(1, 9), st.integers(1, 40), st.integers(1, 9)])
def test_every_prompt_gets_its_samples(prompts: int, samples: int, largest: int, processes: int) -> None:
    if prompts == 0:
        with pytest.raises(ValueError, match="`eval_dataset` is empty"):
            deal_batches(prompts, samples, largest, processes)
        return
    unit = processes // math.gcd(samples, processes)
    if largest * processes < samples * unit:
        with pytest.raises(ValueError, match="`per_device_eval_batch_size` is") as error:
            deal_batches(prompts, samples, largest, processes)
        enough = int(str(error.value).split("per_device_eval_batch_size=")[1].split()[0])
        assert deal_batches(prompts, samples, enough, processes) and enough > largest
        return
    batches = deal_batches(prompts, samples, largest, processes)
    together = [batches[first : first + processes] for first in range(0, len(batches), processes)]
    for parts in together:
        assert len(parts) == processes and len({len(part) for part in parts}) == 1 and len(parts[0]) <= largest
        assert sum(map(len, parts)) % samples == 0
    rows = [row for batch in batches for row in batch]
    assert rows[: prompts * samples] == [prompt for prompt in range(prompts) for _ in range(samples)]
    assert len(rows) - prompts * samples < unit * samples


# Two samples of five prompts: the reward, and the tokens without the end, which a third value of 0 leaves out
SAMPLES = [
    [(1.0, 1, 1), (1.0, 2, 1)],
    [(1.0, 3, 1), (0.0, 4, 0)],
    [(0.0, 6, 1), (0.0, 2, 1)],
    [(0.0, 1, 1), (1.0, 1, 1)],
    [(None, 8, 0), (1.0, 1, 1)],
]
PROMPTS = prompts_dataset(5)["prompt"]


def hand_made_rollouts(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
    rows = [SAMPLES[PROMPTS.index(prompt)][index % 2] for index, prompt in enumerate(prompts)]
    completions = [[3 + index] * tokens + [END] * ends for index, (_, tokens, ends) in enumerate(rows)]
    return {
        "prompt_ids": [trainer.processing_class(prompt)["input_ids"] for prompt in prompts],
        "completion_ids": completions,
        "logprobs": [[0.0] * len(ids) for ids in completions],
        "wanted": [reward for reward, _, _ in rows],
    }


def hand_made_reward(wanted: list[float | None], log_metric: Any, **kwargs: Any) -> list[float | None]:
    log_metric("prompts_at_once", len(wanted) / 2)
    log_metric("all_scored", math.nan if None in wanted else 1.0)  # no value for the last prompt's batch
    return wanted


# Worked by hand from SAMPLES: 5 of 10 are right, 1 has no reward, only the third prompt has none right
BY_HAND = {
    "eval_avg@2": 5 / 10,
    "eval_pass@2": 4 / 5,
    "eval_reward": 5 / 9,
    "eval_reward_stderr": math.sqrt(5 / 9 * 4 / 9 / 9),
    "eval_reward_std": math.sqrt((5 * (4 / 9) ** 2 + 4 * (5 / 9) ** 2) / 8),
    "eval_rewards/hand_made_reward/mean": 5 / 9,
    "eval_frac_reward_zero_std": 2 / 5,
    "eval_groups/all_correct": 2 / 5,
    "eval_groups/all_incorrect": 1 / 5,
    "eval_groups/mixed": 2 / 5,
    "eval_groups/unlabelled": 0.0,
    "eval_completions/mean_length": (2 + 3 + 4 + 4 + 7 + 3 + 2 + 2 + 8 + 2) / 10,
    "eval_completions/min_length": 2,
    "eval_completions/max_length": 8,
    "eval_completions/clipped_ratio": 2 / 10,
    "eval_completions/mean_terminated_length": (2 + 3 + 4 + 7 + 3 + 2 + 2 + 2) / 8,
    "eval_completions/max_terminated_length": 7,
    # All scores are 0: a mixed group of one right and one wrong costs 2 log 2
    "eval_loss": 2 / 5 * 2 * math.log(2),
}


@pytest.mark.parametrize("rollouts_at_once", [2, 4, 6, 8, 16])
def test_every_prompt_counts_once_whatever_the_batch(tmp_path: Path, rollouts_at_once: int) -> None:
    args = config(tmp_path, num_generations_eval=2, per_device_eval_batch_size=rollouts_at_once)
    arguments = dict(reward_funcs=hand_made_reward, rollout_func=hand_made_rollouts, args=args)
    found = trainer(tmp_path, **arguments).evaluate(prompts_dataset(5))
    assert {name: found[name] for name in BY_HAND} == pytest.approx(BY_HAND, abs=1e-5)
    # What a reward function logs itself, in batches of n prompts and a rest: a mean by prompts
    full = rollouts_at_once // 2
    assert found["eval_prompts_at_once"] == pytest.approx((5 // full * full**2 + (5 % full) ** 2) / 5)
    assert found["eval_all_scored"] == (1.0 if full < 5 else None)


def test_a_truncated_rollout_without_a_label_is_not_correct(tmp_path: Path) -> None:
    args = config(tmp_path, num_generations_eval=2, per_device_eval_batch_size=4, mask_truncated_completions=True)
    never_ends = dict(reward_funcs=lambda prompts, **kwargs: [1.0] * len(prompts), rollout_func=hand_made_rollouts)
    found = trainer(tmp_path, **never_ends, args=args).evaluate(prompts_dataset(5))
    assert [found[f"eval_{name}"] for name in ("reward", "avg@2", "pass@2")] == pytest.approx([1.0, 0.8, 1.0])


@pytest.fixture(scope="module")
def on_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Any]:
    """All sets at once: starting processes costs more than evaluating."""
    folder = tmp_path_factory.mktemp("gloo")
    together(main, folder / "results.pt", said=folder / "said.txt")
    return torch.load(folder / "results.pt", weights_only=False)


@pytest.mark.parametrize("samples", BATCHES)
@pytest.mark.parametrize("build", [real, baseline])
def test_two_processes_evaluate_what_one_does(build: Callable, samples: int, on_two_processes: dict) -> None:
    trainer = build(samples, processes=1)
    widest = metrics(trainer, samples, SIZES, (max(BATCHES[samples]) * 2,), processes=1)
    expected = {name.partition(" prompts")[0]: values for name, values in widest.items()}
    alone = metrics(trainer, samples, range(6, 8), BATCHES[samples], processes=1)
    together = on_two_processes[build.__name__, samples]
    assert len(together) == len(SIZES) * 2
    for name, found in (*together.items(), *alone.items()):
        values = expected[name.partition(" prompts")[0]]
        if build is baseline:  # the loss and its own metrics are GRPO's, means over batches
            values = {name: value for name, value in values.items() if name.startswith(WHOLE_SET)}
            assert len(values) == 19
        assert {name: found.get(name) for name in values} == pytest.approx(values, abs=1e-5), name
        assert build is baseline or found.keys() == values.keys()


def test_a_stream_is_evaluated_as_the_set_it_streams() -> None:
    run = trainer_for(dict(batch=16, options=dict(per_device_eval_batch_size=8)))
    rows = prompts_dataset(5)
    streamed, whole = run.evaluate(rows.to_iterable_dataset()), run.evaluate(rows)
    for name in ("eval_reward", "eval_avg@4", "eval_loss", "eval_completions/mean_length"):
        assert streamed[name] == pytest.approx(whole[name], abs=1e-6)


def test_an_evaluation_that_failed_leaves_nothing_in_the_next_one() -> None:
    def fails_once(prompts: list[str], **kwargs: Any) -> list[float | None]:
        calls.append(len(prompts))
        if len(calls) == 2:
            raise RuntimeError("out of order")
        return fixed_reward(prompts, **kwargs)

    calls: list[int] = []
    run, fresh = (trainer_for(dict(batch=16, options=dict(per_device_eval_batch_size=8))) for _ in range(2))
    run.reward_funcs = [fails_once]
    with pytest.raises(RuntimeError, match="out of order"):
        run.evaluate(prompts_dataset(5))
    again, expected = run.evaluate(prompts_dataset(5)), fresh.evaluate(prompts_dataset(5))
    names = [name for name in expected if not name.endswith(TIMES)]
    assert {name: again[name] for name in names} == pytest.approx({name: expected[name] for name in names})


@pytest.mark.parametrize("continuous", [False, True])
def test_a_temperature_of_0_gives_greedy_answers_in_evaluation_only(tmp_path: Path, continuous: bool) -> None:
    def groups(completions: list[str], trainer_state: Any, **kwargs: Any) -> list[float]:
        seen.append([len(set(completions[first : first + 4])) for first in range(0, len(completions), 4)])
        return even_start(**kwargs)

    seen: list[list[int]] = []
    small = dict(num_blocks=16, max_batch_tokens=64)  # its cache takes all the memory there is otherwise
    options = dict(use_transformers_continuous_batching=continuous, transformers_continuous_batching_config=small)
    options |= dict(eval_temperature=0.0)
    args = config(tmp_path, eval_strategy="steps", eval_steps=2, max_steps=4, **options)
    run = trainer(tmp_path, reward_funcs=groups, args=args, eval_dataset=prompts_dataset(3))
    run.train()
    training, evaluation = [each for each in seen if len(each) == 4], [each for each in seen if len(each) == 1]
    assert len(training) == 2 and len(evaluation) == 6
    assert all(different == 1 for [different] in evaluation)
    assert all(different > 1 for each in training for different in each)
    assert run.temperature == run.generation_config.temperature == 1.0 and run.generation_config.top_k == 0
    assert len(logged(run, "groups/mixed")) == 2  # the second generation is logged as training again
    # Entropies are those of the policy that is trained, at its own temperature
    assert min(logged(run, "eval_entropy")) > 1


def test_the_sampling_of_training_is_back_after_an_evaluation_that_failed(tmp_path: Path) -> None:
    def fails(prompts: list[str], **kwargs: Any) -> list[float]:
        during.append((run.temperature, run.generation_config.temperature, run.generation_config.top_p))
        raise RuntimeError("out of order")

    during: list[tuple[float, ...]] = []
    args = config(tmp_path, temperature=0.7, eval_temperature=0.3, eval_top_p=0.9)
    run = trainer(tmp_path, reward_funcs=fails, args=args)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of order"):
            run.evaluate(prompts_dataset(2))
        assert (run.temperature, run.generation_config.temperature, run.generation_config.top_p) == (0.7, 0.7, 1.0)
    assert during == [(0.3, 0.3, 0.9)] * 2


def test_scores_are_0_at_any_temperature(tmp_path: Path) -> None:
    args = config(tmp_path, eval_temperature=0.5, per_device_eval_batch_size=16)
    found = trainer(tmp_path, args=args).evaluate(prompts_dataset(8))
    assert found["eval_scores/positive_mean"] == found["eval_scores/negative_mean"] == found["eval_kl_old"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(eval_temperature=-1), "`eval_temperature` must be a finite number of at least 0 .greedy .*, got -1"),
        (dict(eval_temperature=math.nan), "`eval_temperature` must be a finite number of at least 0"),
        (dict(eval_top_p=1.5), "`eval_top_p` must be above 0 and at most 1, got 1.5"),
        (dict(eval_top_p=0.9, generation_kwargs=dict(top_p=0.8)), "`eval_top_p`: .* Write the field `top_p` instead"),
    ],
)
def test_sampling_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(tmp_path, **options)


def test_the_baselines_train_as_trls_own_trainer_and_are_evaluated_as_real_is(tmp_path: Path) -> None:
    def build(trainer_class: type[GRPOTrainer], config_class: type[GRPOConfig], **options: Any) -> GRPOTrainer:
        options |= dict(use_cpu=True, bf16=False, report_to="none", save_strategy="no", max_steps=4, num_generations=4)
        options |= dict(per_device_train_batch_size=16, steps_per_generation=2, learning_rate=1e-2, disable_tqdm=True)
        arguments = dict(model=tiny_model(), reward_funcs=fixed_reward, processing_class=tiny_tokenizer())
        arguments |= dict(train_dataset=prompts_dataset(16), rollout_func=fixed_rollouts())
        return trainer_class(**arguments, args=config_class(str(tmp_path), **options))

    trained = []
    for classes in ((GRPOTrainer, GRPOConfig), (ValidatingTrainer, ValidationConfig)):
        run = build(*classes)
        run.train()
        trained.append(weights(run.model))
    assert not moved(*trained) and moved(trained[0], weights(tiny_model()))
    options = dict(per_device_eval_batch_size=8, num_generations_eval=4)
    found = build(ValidatingTrainer, ValidationConfig, **options).evaluate({"a": prompts_dataset(5)})
    real = build(REALTrainer, REALConfig, **options).evaluate({"a": prompts_dataset(5)})
    same = [name for name in real if name.startswith(("eval_a_avg", "eval_a_pass", "eval_a_reward", "eval_a_compl"))]
    assert len(same) == 14 and {name: found[name] for name in same} == {name: real[name] for name in same}


def test_evaluating_within_a_generation_changes_nothing_in_training(tmp_path: Path) -> None:
    def train(folder: Path, **options: str | int) -> dict[str, torch.Tensor]:
        arguments = dict(reward_funcs=fixed_reward, rollout_func=fixed_rollouts(), eval_dataset=prompts_dataset(3))
        # Three prompts in batches of two: the last batch is smaller
        args = config(folder, max_steps=4, per_device_eval_batch_size=8, **options)
        run = trainer(folder, **arguments, args=args)
        run.train()
        assert len(logged(run, "eval_loss")) == (4 if options else 0)
        return weights(run.model)

    assert not moved(train(tmp_path), train(tmp_path, eval_strategy="steps", eval_steps=1))


@pytest.mark.parametrize("container", [dict, DatasetDict])
def test_each_of_several_evaluation_sets_is_logged_under_its_own_name(tmp_path: Path, container: type) -> None:
    easy, hard = prompts_dataset(6).select([0, 1]), prompts_dataset(6).select([2, 3, 4, 5])

    def reward(prompts, **kwargs):
        return [float(prompt in set(easy["prompt"])) for prompt in prompts]

    args = config(tmp_path, eval_strategy="steps", eval_steps=1)
    run = trainer(tmp_path, reward_funcs=reward, eval_dataset=container(easy=easy, hard=hard), args=args)
    run.train()
    assert (logged(run, "eval_easy_reward"), logged(run, "eval_hard_reward")) == ([1.0, 1.0], [0.0, 0.0])
    assert logged(run, "eval_reward") == []
    assert all(math.isfinite(loss) for loss in logged(run, "eval_easy_loss") + logged(run, "eval_hard_loss"))


def test_a_stream_is_evaluated_without_workers_and_training_keeps_its_workers(tmp_path: Path) -> None:
    """As TRL's test of the same for GRPOTrainer."""
    args = config(tmp_path, dataloader_num_workers=2, dataloader_prefetch_factor=2, num_generations=4)
    stream = prompts_dataset(3).to_iterable_dataset()
    made = trainer(tmp_path, args=args, eval_dataset=stream, train_dataset=prompts_dataset(8))
    assert made.get_eval_dataloader().num_workers == 0
    assert made.args.dataloader_num_workers == 2 and made.get_train_dataloader().num_workers == 2
    assert made.get_eval_dataloader(prompts_dataset(3)).num_workers == 2
    assert made.evaluate()["eval_avg@4"] >= 0
