"""Prompts computed once: each rollout as if alone, a model that cannot do so found out, and no prefix but its own."""

import logging
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.step.test_trial import see_everything
from tests.support.cuts import ROWS, train_cut, trainer_for
from tests.support.tiny import tiny_model, tiny_moe
from tests.support.trainers import config, save_tiny_model, trainer
from tests.support.vision_models import tiny_qwen_vl
from tests.trainer.test_exactness import TOLERANCE, distance
from tests.zoo import architectures
from trl_real.step import attention
from trl_real.step.attention import Prefixes, packed_attention, row_boundaries
from trl_real.step.layouts import IGNORED, PackedBatch, SharedBatch, pack_rollouts, share_prompts
from trl_real.step.obstacles import sharing_obstacle as obstacle
from trl_real.step.rollouts import Rollout


def rollout(row: int, prompt: list[int], completion: list[int], key: int = 0) -> Rollout:
    ids = torch.tensor(completion)
    return Rollout(row, torch.tensor(prompt), ids, torch.ones_like(ids), prompt_key=key)


ROLLOUTS = [rollout(0, [5, 6, 7], [11, 12]), rollout(4, [8, 9], [21], key=4), rollout(1, [5, 6, 7], [13, 14, 15])]


def test_a_prompt_but_for_its_last_token_is_computed_once_and_its_rollouts_follow_it():
    batch = share_prompts(ROLLOUTS, pad_token_id=0)
    assert batch.rows == [0, 1, 4]  # by prompt
    assert batch.input_ids.tolist() == [[5, 6, 7, 11, 12, 7, 13, 14, 15, 8, 9, 21]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 5, 0, 1, 2]]
    assert batch.row_lengths == [2, 3, 4, 3] and batch.prefix_of == [0, 0, 0, 3]
    labels = [(at, label) for at, label in enumerate(batch.shift_labels[0].tolist()) if label != IGNORED]
    assert labels == [(2, 11), (3, 12), (5, 13), (6, 14), (7, 15), (10, 21)]
    assert batch.unpack(torch.arange(12.0)[None]).tolist() == [[2, 3, 0], [5, 6, 7], [10, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    values = [part.tolist() for part in batch.split(batch.input_ids[0])]  # with those of the prefix
    assert values == [[5, 6, 7, 11, 12], [5, 6, 7, 13, 14, 15], [8, 9, 21]]


def test_a_prompt_of_one_token_is_no_prefix_and_a_row_that_rounds_up_belongs_to_nobody():
    batch = share_prompts([rollout(0, [5], [6, 7]), rollout(1, [5], [8])], pad_token_id=3, pad_to_multiple_of=8)
    assert batch.input_ids.tolist() == [[5, 6, 7, 5, 8, 3, 3, 3]]
    assert batch.row_lengths == [3, 2, 3] and batch.prefix_of == [0, 1, 2]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]


def logits(model: PreTrainedModel, batch: PackedBatch, prefix_of: list[int] | None = None) -> list[torch.Tensor]:
    """Of every rollout, its prompt included."""
    inputs = row_boundaries(model, batch.row_lengths, batch.input_ids.device)
    if isinstance(batch, SharedBatch):
        inputs["prefixes"] = Prefixes(batch.row_lengths, prefix_of or batch.prefix_of)
    output = model(batch.input_ids, position_ids=batch.position_ids, use_cache=False, **inputs)
    return batch.split(output.logits[0])


def two_families() -> list[Rollout]:
    """Two prompts with rollouts of several lengths."""
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randint(63, (length,), generator=generator).tolist() for length in (7, 3, 1, 5, 4, 4, 5, 2)]
    prompts, completions = (draw[0], draw[5]), (draw[1:5], draw[6:])
    return [rollout(0, prompts[key], ids, key) for key in (0, 1) for ids in completions[key]]


def with_prefixes_swapped(prefix_of: list[int]) -> list[int]:
    """Each of two families behind the prompt of the other."""
    first, second = sorted({prefix for at, prefix in enumerate(prefix_of) if prefix != at})
    swap = {first: second, second: first}
    return [prefix if prefix == at else swap[prefix] for at, prefix in enumerate(prefix_of)]


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_rollouts_behind_a_prompt_are_computed_as_if_alone(name):
    """With another prompt's prefix they would not be."""
    model = architectures.build(name).eval()
    assert obstacle(model) is None
    rollouts = two_families()
    batch = share_prompts(rollouts, pad_token_id=0)
    with torch.no_grad():
        with packed_attention(model):
            shared = logits(model, batch)
            swapped = logits(model, batch, with_prefixes_swapped(batch.prefix_of))
        for row, got, other in zip(rollouts, shared, swapped, strict=True):
            alone = model(torch.cat([row.prompt_ids, row.completion_ids])[None]).logits[0]
            assert (alone - got).abs().max() < 1e-5
            assert (alone - other)[len(row.prompt_ids) :].abs().max() > 0.01


def outputs_and_gradient(
    model: PreTrainedModel, layout: Any, autocast: bool, swapped: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the two families, and the gradient of some of them, each as one vector."""
    batch = layout(two_families(), pad_token_id=0)
    prefix_of = with_prefixes_swapped(batch.prefix_of) if swapped else None
    model.zero_grad()
    with packed_attention(model, shared=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = logits(model, batch, prefix_of)
        logps = [part.float().log_softmax(-1) for part in outputs]
        sum(part[-1, 5] for part in logps).backward()
    gradient = torch.cat([parameter.grad.float().flatten() for parameter in model.parameters()])
    return torch.cat(logps).detach().flatten(), gradient


# Precision of the weights, whether under autocast, and how far apart sums in another order may be
PRECISIONS = {
    "float32": (torch.float32, False, 1e-6),
    "bfloat16 weights": (torch.bfloat16, False, 0.01),
    "float32 weights under autocast": (torch.float32, True, 0.01),
}


@pytest.mark.parametrize("on_cuda", [False, True], ids=["mask in memory", "as on CUDA"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_and_gradient_are_those_of_whole_rows(precision, on_cuda, monkeypatch):
    monkeypatch.setattr(attention, "has_causal_kernels", lambda device: on_cuda)
    dtype, autocast, tolerance = PRECISIONS[precision]
    model = architectures.build("qwen2").to(dtype)
    whole = outputs_and_gradient(model, pack_rollouts, autocast)
    shared = outputs_and_gradient(model, share_prompts, autocast)
    swapped = outputs_and_gradient(model, share_prompts, autocast, swapped=True)
    for expected, found, other in zip(whole, shared, swapped, strict=True):
        assert (found - expected).norm() <= tolerance * expected.norm()
        assert (other - expected).norm() > 0.1 * expected.norm()


def test_prompts_are_shared_under_autocast_as_on_cuda(monkeypatch):
    monkeypatch.setattr(attention, "has_causal_kernels", lambda device: True)
    trainer = trainer_for(dict(batch=8, steps=2, max_steps=1, options=dict(bf16=True, num_generations=8)))
    trainer.train()
    assert trainer._phase.choice.shared, trainer._phase.choice.why_not_shared


def first_key_first(self: Prefixes, segment: int, query: torch.Tensor) -> None:
    """No mask, so that SDPA's own lets the first query see the first key."""


@pytest.mark.parametrize("mask", [first_key_first, see_everything])
def test_attention_with_an_incorrect_boundary_is_found_out_and_nothing_is_shared(mask, monkeypatch, caplog, capsys):
    cut = dict(batch=8, steps=4, max_steps=2)
    base, _ = train_cut(cut | dict(options=dict(share_prompts=False)))
    monkeypatch.setattr(Prefixes, "mask", mask)
    with caplog.at_level(logging.WARNING, logger="trl_real"):
        trained, _ = train_cut(cut)
    assert distance(base, trained) < TOLERANCE
    assert sum("computes its own prompt" in record.message for record in caplog.records) == 1
    assert "packed, prompts not shared (a rollout has other log-probabilities behind" in capsys.readouterr().out
    with pytest.raises(ValueError, match="`share_prompts=True` does not work here: a rollout has other"):
        train_cut(cut | dict(options=dict(share_prompts=True)))


def test_a_model_that_fails_behind_prefixes_runs_without(monkeypatch, capsys):
    def fail(self: Prefixes, segment: int, query: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Prefixes, "mask", fail)
    train_cut(dict(batch=8, steps=4, max_steps=1))
    assert "prompts not shared (the model cannot be run on shared prompts (RuntimeError: no such kernel))" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: architectures.build("mamba"), "carries a state from token to token"),
        (lambda: architectures.build("mistral, window of 4"), "not every layer attends to the entire row"),
        (lambda: architectures.build("gemma3_text"), "not every layer attends to the entire row"),
        (lambda: tiny_model(attn_implementation="eager"), "attn_implementation is eager, not sdpa or flash"),
        (lambda: tiny_qwen_vl()[0], "the model also reads images"),
        (lambda: architectures.build("gpt_oss"), "it has attention sinks"),
    ],
)
def test_models_whose_prompts_cannot_be_shared_are_told_by_their_settings(model, reason):
    model = model()
    if "state" in reason or "sinks" in reason:  # as if there were one that knows them
        model.config._attn_implementation = "sdpa"
    if "sinks" in reason:
        model.config.layer_types = ["full_attention"] * 2
    assert reason in obstacle(model)


def test_what_cannot_be_shared_is_said_by_name():
    assert obstacle(tiny_moe()) is None
    assert obstacle(architectures.build("gpt2")) is None
    assert "dropout would be the same" in obstacle(tiny_model(), attention_dropout=True)
    options = dict(share_prompts=True, pack_rollouts=False)
    with pytest.raises(
        ValueError, match="`share_prompts=True` does not work here: forwards are padded: pack_rollouts"
    ):
        trainer_for(dict(batch=ROWS, options=options))


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        ("eager", "the reference model: attn_implementation is eager, not sdpa"),
        ("flex_attention", "forwards are padded: the reference model: attn_implementation is flex_attention"),
    ],
)
def test_a_reference_model_with_another_attention_is_asked_too(tmp_path, attention, reason):
    model = AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path / "model"), attn_implementation="sdpa")
    args = config(tmp_path, beta=0.1, model_init_kwargs=dict(attn_implementation=attention))
    choice = trainer(tmp_path, model=model, args=args)._phase.choice
    assert choice.why_not_shared.startswith(reason)
    assert bool(choice.why_padded) == (attention == "flex_attention")
