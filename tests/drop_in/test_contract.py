"""How TRL behaves where this package relies on it; that its names are there is checked live (`tests/contract`)."""

import inspect
import re

import pytest
import torch
from trl import GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import RepeatSampler

from tests.support.cuts import trainer_for
from trl_real import REALTrainer
from trl_real.compat import nanstd, pad
from trl_real.step.rollouts import TOKEN_TYPE_KEYS, VISION_KEYS


def test_the_constructor_is_that_of_grpo_trainer():
    names = {cls: list(inspect.signature(cls.__init__).parameters) for cls in (GRPOTrainer, REALTrainer)}
    assert names[REALTrainer] == names[GRPOTrainer]
    for name, parameter in inspect.signature(GRPOTrainer.__init__).parameters.items():
        assert inspect.signature(REALTrainer.__init__).parameters[name].default == parameter.default


def test_the_generation_batch_has_no_key_that_is_not_handled():
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    keys = set(re.findall(r'output\["(\w+)"\]', source))
    keys |= set(re.findall(r'^            "(\w+)":', source[source.rindex("output = {") :], re.MULTILINE))
    read = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask"}
    replaced = {"advantages", "num_items_in_batch", "old_per_token_logps", "ref_per_token_logps"}
    vllm_only = {"importance_sampling_ratio", "sampling_per_token_logps"}
    assert keys == read | replaced | vllm_only | set(VISION_KEYS) | set(TOKEN_TYPE_KEYS)


def test_the_state_that_is_read_and_written_exists():
    trainer = trainer_for(dict(batch=16))
    assert trainer._step == 0 and trainer._current_train_step_time == 0.0
    assert trainer._metrics.keys() == {"train", "eval"} and "extra" in trainer._logs
    assert trainer.reward_func_names == ["fixed_reward"] and trainer.reward_weights.tolist() == [1.0]
    assert trainer.ref_model is None and trainer.beta == 0.0 and not trainer.aux_loss_enabled
    assert not trainer._entropy_bonus_enabled and trainer.entropy_coef == 0.0
    assert trainer._last_world_entropy == float("inf") and trainer.pad_to_multiple_of is None
    assert trainer._tokenizer.pad_token_id == 0
    assert trainer.eos_token_ids == [1] and trainer.num_generations_eval == 4 and trainer.use_vllm is False
    assert trainer.temperature == trainer.generation_config.temperature == 1.0
    assert GRPOTrainer.loss_is_scaled_for_ga is True  # the loss is a mean over the optimizer step already


def test_trl_still_asks_for_log_probabilities_through_the_overridden_method(monkeypatch):
    trainer = trainer_for(dict(batch=16, options=dict(beta=0.1), lora=True))
    asked = []

    def spy(self, *args, **kwargs):
        asked.append(args[0])
        return None, None, None

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", spy)
    trainer.model.train()
    trainer._prepare_inputs = None  # not reached
    batch = GRPOTrainer._generate_and_score_completions(trainer, [{"prompt": "w1"}] * 16)
    assert len(asked) == 2  # old and reference
    assert not {"old_per_token_logps", "ref_per_token_logps"} & batch.keys()  # and takes None for an answer


def test_the_sampler_repeats_whole_groups_in_order_and_its_permutation_can_be_skipped():
    sampler = RepeatSampler(range(6), mini_repeat_count=2, batch_size=3, repeat_count=2, seed=3)
    first, second = list(sampler), list(sampler)
    assert first[:6] == first[6:12] and first[0] == first[1] and first != second
    other = RepeatSampler(range(6), mini_repeat_count=2, batch_size=3, repeat_count=2, seed=3)
    torch.randperm(other.num_samples, generator=other.generator)
    assert other.shuffle and list(other) == second


def test_vllm_reads_its_sampling_anew_in_every_generation():
    source = inspect.getsource(VLLMGeneration.generate)
    assert all(f"self.{name}" in source for name in ("temperature", "top_p"))


def test_nanstd_leaves_nan_out():
    values = torch.tensor([[1.0, 3.0, torch.nan], [2.0, 2.0, 2.0], [5.0, torch.nan, torch.nan]])
    assert nanstd(values, dim=1).nan_to_num(-1).tolist() == [pytest.approx(2**0.5), 0, -1]


def test_pad_pads_on_both_sides_and_to_multiples():
    tensors = [torch.tensor([1, 2]), torch.tensor([3])]
    assert pad(tensors, 0, "left", None).tolist() == [[1, 2], [0, 3]]
    assert pad(tensors, 0, "right", 4).tolist() == [[1, 2, 0, 0], [3, 0, 0, 0]]
