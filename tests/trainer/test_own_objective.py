"""Objectives of one's own have the gradient of complete groups, however the rollouts are cut: a plain loop says so.

The examples of the documentation, and a loss that trains groups of one class. Plain SGD without clipping shows the
scale of a gradient, which AdamW hides.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from docs.examples.own_objective import all_pairs, quarters
from tests.objective import reference
from tests.objective.test_own import every_class
from tests.support.cuts import ROWS, main, train_cut, trainer_for
from tests.support.processes import together
from tests.support.tiny import (
    fixed_completion,
    fixed_reward,
    fixed_rollouts,
    graded_reward,
    prompts_dataset,
    tiny_model,
    tiny_tokenizer,
)
from tests.support.trainers import config, logged, trainer, weights
from tests.trainer.test_exactness import TOLERANCE, distance
from trl_real import REALTrainer
from trl_real.step.plan import StepPlan


EXAMPLES = "docs.examples.own_objective"
SGD = dict(optim="sgd", max_grad_norm=0.0, learning_rate=0.1)


def plain_pairs(scores: torch.Tensor, labels: list[float]) -> torch.Tensor:
    """-log σ(correct - incorrect), a mean over the pairs."""
    correct, incorrect = ([s for s, y in zip(scores, labels, strict=True) if y == kind] for kind in (1.0, 0.0))
    terms = [torch.log(1 + torch.exp(wrong - right)) for right in correct for wrong in incorrect]
    return sum(terms, 0.0 * scores.sum()) / max(len(terms), 1)


def plain_smoothed(scores: torch.Tensor, labels: list[float]) -> torch.Tensor:
    """A tenth of the loss has every label exchanged."""
    exchanged = [1 - label for label in labels]
    return 0.9 * reference.group_loss(scores, labels) + 0.1 * reference.group_loss(scores, exchanged)


def plain_every_class(scores: torch.Tensor, labels: list[float]) -> torch.Tensor:
    signs = [{1.0: -1.0, 0.0: 1.0}.get(label, 0.0) for label in labels]
    unlabelled = all(math.isnan(label) for label in labels)
    contrast = sum(sign * score for sign, score in zip(signs, scores, strict=True))
    return 0.0 * scores.sum() if unlabelled else torch.log(1 + torch.exp(contrast))


def labels_by_threshold(rewards: list[float | None]) -> list[float]:
    return [math.nan if reward is None else float(reward > 0.5) for reward in rewards]


def labels_by_rank(rewards: list[float | None]) -> list[float]:
    """The rule in words: as good as the last of the best quarter, as bad as the last of the worst."""
    ordered, quarter = sorted(reward for reward in rewards if reward is not None), max(len(rewards) // 4, 1)
    if len(ordered) < quarter or ordered[-quarter] <= ordered[quarter - 1]:
        return [math.nan] * len(rewards)
    kinds = [
        None if reward is None else (reward >= ordered[-quarter], reward <= ordered[quarter - 1]) for reward in rewards
    ]
    return [{(True, False): 1.0, (False, True): 0.0}.get(kind, math.nan) for kind in kinds]


# Options of the trainer, and the same for the plain loop: a loss, labels
OBJECTIVES: dict[str, tuple[dict[str, Any], Callable, Callable]] = {
    "all pairs": (dict(loss_type=f"{EXAMPLES}:all_pairs"), plain_pairs, labels_by_threshold),
    "label smoothing": (dict(loss_type=f"{EXAMPLES}:smoothed"), plain_smoothed, labels_by_threshold),
    "labels by rank": (dict(label_func=f"{EXAMPLES}:quarters"), reference.group_loss, labels_by_rank),
    "one class too": (
        dict(loss_type="tests.objective.test_own:every_class"),
        plain_every_class,
        labels_by_threshold,
    ),
}


def cut_of(name: str, batch: int, **options: Any) -> dict[str, Any]:
    """Six optimizer steps of two groups of eight, four for a generation; graded rewards for ranks."""
    own = OBJECTIVES[name][0] | dict(num_generations=8)
    return dict(batch=batch, steps=4, graded=name == "labels by rank", options=SGD | own | options)


def plain_loop(name: str, loss: Callable | None = None, epsilon: float | None = None) -> dict[str, torch.Tensor]:
    """Parameters after the same rollouts, one after another."""
    cut = cut_of(name, ROWS)
    reward, labels_of = graded_reward if cut["graded"] else fixed_reward, OBJECTIVES[name][2]
    rows, dataset, generations = list(trainer_for(cut)._get_train_sampler()), prompts_dataset(32), []
    for first, steps in ((0, 4), (4 * 4 * ROWS, 2)):  # the sampler repeats the rows of a generation for every step
        generations.append([])
        for step in range(steps):
            at, rollouts = first + step * ROWS, []
            for index in rows[at : at + ROWS : 8]:
                prompt = dataset[index]["prompt"]
                completions = [fixed_completion(prompt, k) for k in range(8)]
                ids = tiny_tokenizer()(prompt)["input_ids"]
                labels = labels_of(reward([prompt] * 8, completions))
                rollouts += [
                    dict(prompt=ids, completion=completion, label=label, group=index)
                    for completion, label in zip(completions, labels, strict=True)
                ]
            generations[-1].append(rollouts)
    rate = SGD["learning_rate"] if epsilon is None else 1e-2
    trained = reference.train(tiny_model(), generations, rate, epsilon, loss or OBJECTIVES[name][1])
    return {name: p.detach() for name, p in trained.named_parameters()}


@pytest.fixture(scope="module")
def plain() -> dict[str, dict[str, torch.Tensor]]:
    """What the plain loop trains, by objective."""
    return {name: plain_loop(name) for name in OBJECTIVES}


@pytest.fixture(scope="module")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple]:
    """All cuts of two processes in one launch."""
    folder = tmp_path_factory.mktemp("gloo")
    keys = [(name, batch) for name in OBJECTIVES for batch in (8, 1)]
    (folder / "cuts.json").write_text(json.dumps([cut_of(name, batch) for name, batch in keys]))
    together(main, folder / "cuts.json", folder / "results.pt", said=folder / "said.txt")
    return dict(zip(keys, torch.load(folder / "results.pt", weights_only=False), strict=True))


LAYOUTS = [
    (16, {}),
    (4, {}),
    (1, {}),
    (4, dict(share_prompts=True)),
    (4, dict(share_prompts=False)),
    (4, dict(pack_rollouts=False)),
]


@pytest.mark.parametrize(("batch", "layout"), LAYOUTS, ids=str)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_of_ones_own_trains_as_in_a_plain_loop(name, batch, layout, plain):
    trained, _ = train_cut(cut_of(name, batch, **layout))
    assert distance(plain[name], trained) < TOLERANCE
    assert distance(plain[name], dict(tiny_model().named_parameters())) > 100 * TOLERANCE  # it did train


@pytest.mark.parametrize("batch", [8, 1])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_train_it_too(name, batch, plain, gloo):
    assert distance(plain[name], gloo[name, batch][0]) < TOLERANCE


def test_with_adamw_and_clipping_as_well():
    trained, _ = train_cut(cut_of("all pairs", 4, optim="adamw_torch", max_grad_norm=1.0, learning_rate=1e-2))
    assert distance(plain_loop("all pairs", epsilon=1e-5), trained) < TOLERANCE


@pytest.mark.parametrize("name", OBJECTIVES)
def test_groups_torn_apart_would_be_seen(name, plain, monkeypatch):
    monkeypatch.setattr(StepPlan, "whole_groups", property(lambda self: True, lambda self, value: None), raising=False)
    torn, _ = train_cut(cut_of(name, 1))
    assert distance(plain[name], torn) > 10 * TOLERANCE


WRONG = {
    "all pairs": lambda scores, labels: 2 * plain_pairs(scores, labels),
    "label smoothing": reference.group_loss,
    "labels by rank": lambda scores, labels: reference.group_loss(scores, [1 - label for label in labels]),
    "one class too": lambda scores, labels: plain_every_class(scores, labels) * ({1.0, 0.0} <= set(labels)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_another_objective_would_be_seen(name, plain):
    assert distance(plain[name], plain_loop(name, WRONG[name])) > 10 * TOLERANCE


def test_groups_of_one_class_are_run_if_the_loss_says_so_and_else_skipped():
    shares = {}
    for name in ("all pairs", "one class too"):
        _, log = train_cut(cut_of(name, 16))
        shares[name] = [entry["trained/rollouts"] for entry in log if "trained/rollouts" in entry]
        mixed = [entry["groups/mixed"] for entry in log if "groups/mixed" in entry]
        assert max(mixed) < 1
    assert max(shares["all pairs"]) < 0.8 < min(shares["one class too"])


def run(folder: Path, resume: str | None = None, **options: Any) -> REALTrainer:
    defaults = dict(max_steps=4, save_strategy="steps", save_steps=2, lr_scheduler_type="constant")
    args = config(folder, **defaults | dict(loss_type=all_pairs, label_func=quarters) | options)
    trained = trainer(folder, reward_funcs=fixed_reward, rollout_func=fixed_rollouts(), args=args)
    trained.train(resume_from_checkpoint=resume)
    return trained


def test_functions_are_saved_with_checkpoints_which_resume(tmp_path: Path) -> None:
    whole = run(tmp_path)
    checkpoint = Path(whole.args.output_dir) / "checkpoint-2"
    saved = torch.load(checkpoint / "training_args.bin", weights_only=False)
    assert saved.loss_type is all_pairs and saved.label_func is quarters
    resumed = run(tmp_path / "resumed", str(checkpoint))
    assert resumed.state.global_step == 4
    for name, value in weights(resumed.model).items():
        torch.testing.assert_close(dict(whole.model.named_parameters())[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_configuration_says_functions_by_their_paths() -> None:
    args = config(Path("unused"), loss_type=all_pairs, label_func=quarters)
    assert json.loads(args.to_json_string())["loss_type"] == f"{EXAMPLES}:all_pairs"
    assert args.to_dict()["label_func"] == f"{EXAMPLES}:quarters" and args.to_sanitized_dict()


def of_eight(scores, labels):
    """Takes groups of eight alone."""
    return all_pairs(scores.view(-1, 8), labels.view(-1, 8))


def test_the_functions_are_tried_on_groups_of_the_sizes_of_the_run() -> None:
    config(Path("unused"), loss_type=of_eight, num_generations=8, per_device_train_batch_size=8)
    with pytest.raises(ValueError, match="`loss_type`: the function failed"):
        config(Path("unused"), loss_type=of_eight, num_generations=4)
    with pytest.raises(ValueError, match="`label_func`: .* labels of the shape of the rewards"):
        config(Path("unused"), label_func=torch.sum)


def test_an_evaluation_has_the_objective_and_the_threshold(tmp_path: Path) -> None:
    options = dict(eval_strategy="steps", eval_steps=2, max_steps=2, num_generations_eval=2, label_threshold=0.25)
    evaluated = trainer(
        tmp_path,
        reward_funcs=graded_reward,
        rollout_func=fixed_rollouts(),
        args=config(tmp_path, loss_type=every_class, label_func=quarters, **options),
        eval_dataset=prompts_dataset(4),
    )
    evaluated.train()
    rewards = [
        reward
        for prompt in prompts_dataset(4)["prompt"]
        for reward in graded_reward([prompt] * 2, [fixed_completion(prompt, k) for k in range(2)])
    ]
    solved = [reward is not None and reward > 0.25 for reward in rewards]
    assert logged(evaluated, "eval_avg@2") == [pytest.approx(sum(solved) / len(solved))]
    assert math.isfinite(logged(evaluated, "eval_loss")[0])
