"""How TRL behaves where this package relies on it; that its names are there is checked live (`tests/contract`)."""

import inspect
import re

import torch
from trl import GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import RepeatSampler

from tests.support.cuts import trainer_for
from trl_real import REALTrainer
from trl_real.step.rollouts import TOKEN_TYPE_KEYS, VISION_KEYS


def test_the_constructor_is_that_of_grpo_trainer():
    theirs, ours = (inspect.signature(cls.__init__).parameters.values() for cls in (GRPOTrainer, REALTrainer))
    assert [(each.name, each.default) for each in ours] == [(each.name, each.default) for each in theirs]


def test_the_generation_batch_has_no_key_that_is_not_handled():
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    keys = set(re.findall(r'output\["(\w+)"\]', source))
    keys |= set(re.findall(r'^            "(\w+)":', source[source.rindex("output = {") :], re.MULTILINE))
    read = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask"}
    replaced = {"advantages", "num_items_in_batch", "old_per_token_logps", "ref_per_token_logps"}
    vllm_only = {"importance_sampling_ratio", "sampling_per_token_logps"}
    assert keys == read | replaced | vllm_only | set(VISION_KEYS) | set(TOKEN_TYPE_KEYS)


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


def test_vllm_reads_its_sampling_again_in_every_generation():
    source = inspect.getsource(VLLMGeneration.generate)
    assert all(f"self.{name}" in source for name in ("temperature", "top_p"))
