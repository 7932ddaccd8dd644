"""The trial of a layout: rounding passes and a leak is found in every precision; a resumed run keeps the answer."""

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.support.cuts import ROWS, trainer_for
from tests.support.tiny import tiny_model, tiny_moe
from tests.zoo import architectures
from trl_real import REALTrainer
from trl_real.step import attention as packing
from trl_real.step import trial
from trl_real.step.attention import Prefixes
from trl_real.step.rollouts import Rollout
from trl_real.step.trial import packing_rows, passes, perturbed, sharing_rows


PRECISIONS = {
    "float32": {},
    "autocast": dict(bf16=True),
    "bf16 weights": dict(bf16=True, model_init_kwargs=dict(dtype="bfloat16")),
}
MODELS = {"qwen2": tiny_model, "moe": tiny_moe, "gemma3_text": partial(architectures.build, "gemma3_text")}


def started(tmp_path: Path, build: partial | type, precision: str, temperature: float = 0.6) -> REALTrainer:
    """A trainer that has made its first step, on a saved model."""
    build().save_pretrained(tmp_path / "model")
    options = PRECISIONS[precision] | dict(temperature=temperature, num_generations=8)
    trainer = trainer_for(dict(batch=ROWS, steps=1, max_steps=1, path=str(tmp_path / "model"), options=options))
    trainer.train()
    return trainer


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_rounding_switches_no_saving_off(name, precision, tmp_path):
    forwards = started(tmp_path, MODELS[name], precision)._phase.choice
    assert forwards.packs, forwards.why_padded
    assert forwards.shared is (name != "gemma3_text"), forwards.why_not_shared


def over_all_rows(module, query, key, value, attention_mask, *, row_lengths, **kwargs):
    """Attention that does not stop at the end of a row."""
    kwargs.pop("prefixes", None)
    return sdpa_attention_forward(module, query, key, value, None, is_causal=True, **kwargs)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_that_sees_its_neighbor_is_found_in_every_precision(precision, tmp_path, monkeypatch):
    monkeypatch.setitem(packing.AttentionInterface._global_mapping, packing.ROW_BY_ROW, over_all_rows)
    forwards = started(tmp_path, tiny_model, precision)._phase.choice
    assert not forwards.packs and "changes its neighbor" in forwards.why_padded


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["falcon", "lfm2", "qwen3_5_text"])
def test_a_model_without_row_boundaries_is_found_in_every_precision(name, precision, tmp_path, monkeypatch):
    """Its settings tell, so they are not asked: the trial has to find it."""
    monkeypatch.setattr("trl_real.step.choice.packing_obstacle", lambda *args: None)
    forwards = started(tmp_path, partial(architectures.build, name), precision)._phase.choice
    assert not forwards.packs


def see_everything(self: Prefixes, segment: int, query: torch.Tensor) -> torch.Tensor:
    """A mask that does not hide the later tokens of a row."""
    return query.new_zeros(self.lengths[segment], self.lengths[self.of[segment]] + self.lengths[segment])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_prefix_of_another_prompt_is_found_in_every_precision(precision, tmp_path, monkeypatch):
    start = Prefixes.__init__

    def crossed(self: Prefixes, lengths: list[int], of: list[int]) -> None:
        other = next(prefix for at, prefix in enumerate(of) if at != prefix)
        start(self, lengths, [at if at == own else other for at, own in enumerate(of)])

    monkeypatch.setattr(Prefixes, "__init__", crossed)
    forwards = started(tmp_path, tiny_model, precision)._phase.choice
    assert forwards.packs and not forwards.shared


def test_a_rounding_step_is_that_of_the_matrix_products():
    values, embedding = torch.ones(4), torch.nn.Embedding(4, 2)
    assert trial._rounding_step(values) == torch.finfo(torch.float32).eps
    assert trial._rounding_step(values.bfloat16()) == 2**-7
    with torch.autocast("cpu", torch.bfloat16):
        assert trial._rounding_step(values) == 2**-7
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    assert trial._rounding_step(values) == 2**-10
    torch.backends.cuda.matmul.fp32_precision = before
    plain = embedding(torch.arange(4))
    with perturbed(embedding):
        moved = embedding(torch.arange(4)) / plain - 1
    assert (moved[:, 0] > 0).all() and (moved[:, 1] < 0).all()
    assert torch.equal(embedding(torch.arange(4)), plain)


def test_a_layout_passes_within_a_few_rounding_steps_and_never_with_nan():
    rounding = torch.tensor([[4.0 * 15.9, 4.0, 9.0], [4.0 * 15.9, 4.0, 1.0]])
    assert passes(rounding)
    assert not passes(rounding * torch.tensor([1.02, 1.0, 1.0]))
    assert not passes(rounding.where(rounding != 1.0, torch.nan))
    assert passes(torch.tensor([[1e-10, 0.0, 1.0]])) and not passes(torch.tensor([[1e-9, 0.0, 1.0]]))


def rollout(row: int, prompt: list[int], completion: list[int], key: int) -> Rollout:
    ids = torch.tensor(completion)
    return Rollout(row, torch.tensor(prompt), ids, torch.zeros_like(ids), prompt_key=key)


def test_sharing_is_tried_on_real_rollouts_of_two_prompts():
    rollouts = [rollout(n, [5, 6, n // 3], ids, n // 3) for n, ids in enumerate([[1], [1], [2, 3], [4], [4, 5], [6]])]
    assert [row.row for row in sharing_rows(rollouts)] == [3, 5, 0, 2]  # without copies
    assert all(row.mask.all() for row in sharing_rows(rollouts))


def test_where_there_are_too_few_rollouts_sharing_is_tried_on_made_up_ones():
    rows = sharing_rows([rollout(3, [5], [6], key=9), rollout(4, [7, 8], [1, 2, 3], key=2)])
    assert [row.prompt_key for row in rows] == [0, 0, 1, 1]
    assert [row.prompt_ids.tolist() for row in rows] == [[5, 5], [5, 5], [6, 5, 5], [6, 5, 5]]
    assert [row.completion_ids.tolist() for row in rows] == [[6], [3, 2, 1]] * 2
    assert all(row.mask.all() for row in rows)


def test_packing_is_tried_on_a_row_beyond_the_window_and_on_no_copies():
    rollouts = [rollout(0, [5], [1, 2], 0), rollout(1, [5], [1, 2], 0), rollout(2, [5], [3, 4, 6], 0)]
    assert [row.row for row in packing_rows(rollouts, window=None)] == [0, 2]
    assert [row.row for row in packing_rows(rollouts, window=3)] == [2, 0]
    probe, other = packing_rows(rollouts[:2], window=None)
    assert probe.completion_ids.tolist() == [1, 2] and other.completion_ids.tolist() == [2, 1]


@pytest.mark.parametrize("packs", [True, False])
def test_a_resumed_run_keeps_its_layout(packs, tmp_path, monkeypatch):
    """Whatever the trial would say after resuming; a padded run still says why."""
    cut = dict(batch=8, steps=2, max_steps=2, options=dict(save_strategy="steps", save_steps=2))
    failing = ("trl_real.step.choice.passes", lambda totals: False)
    with monkeypatch.context() as patch:
        if not packs:
            patch.setattr(*failing)
        trainer_for(cut, output_dir=str(tmp_path)).train()
    if packs:
        monkeypatch.setattr(*failing)
    resumed = trainer_for(cut | dict(max_steps=4), output_dir=str(tmp_path))
    resumed.train(resume_from_checkpoint=True)
    choice = resumed._phase.choice
    assert choice.packs is choice.shared is packs
    assert packs or "changes its neighbor" in choice.why_padded


def test_compared_rows_are_those_of_the_completions_alone():
    """A row's padding, and a token that no layout computes, count nowhere."""
    mask = torch.tensor([[1, 1], [1, 0]])
    embedding = torch.nn.Embedding(2, 2)
    tried = torch.tensor([[0.0, 3.0], [0.0, 100.0]])
    totals = trial.compare([tried, tried * 2], lambda: torch.zeros(2, 2), mask, embedding)
    assert totals.tolist() == [36.0, 0.0, 3.0]
    assert trial.compare([tried, tried * torch.nan], lambda: torch.zeros(2, 2), mask, embedding)[0].isnan()


def test_rounding_is_measured_by_one_step_of_every_embedding():
    embedding = torch.nn.Embedding.from_pretrained(torch.ones(2, 2))
    mask, step = torch.tensor([[1, 1], [1, 0]]), torch.finfo(torch.float32).eps
    totals = trial.compare([torch.ones(2, 2)], lambda: embedding(torch.arange(2)), mask, embedding)
    assert totals.tolist() == [0.0, 3 * step**2, 3.0]
