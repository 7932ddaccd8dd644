"""REALConfig: every field of GRPOConfig has a place; settings that cannot be right are refused with the way out."""

import re
import subprocess
import sys
import warnings
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from transformers import HfArgumentParser
from trl import GRPOConfig

from docs.examples.own_objective import all_pairs
from docs.tools.config_page import AS_IN_GRPO, NOTES, PAGE, config_page
from trl_real import REALConfig
from trl_real.options import described
from trl_real.trainer.fields import INERT, REFUSED
from trl_real.validation.batches import nearest_batches, wrong_batches


def config(**options: Any) -> REALConfig:
    return REALConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none", **options)


def test_every_field_of_grpo_config_is_in_one_table():
    names = [name for table in (AS_IN_GRPO, INERT, NOTES, REFUSED) for name in table]
    assert len(names) == len(set(names))
    unknown = {field.name for field in fields(GRPOConfig)} - set(names)
    assert not unknown  # the tables may name fields that an older Transformers does not have


def test_the_tables_name_no_field_that_never_was():
    if Version(transformers.__version__) >= Version("5.23"):
        assert {*AS_IN_GRPO, *INERT, *NOTES, *REFUSED} <= {field.name for field in fields(GRPOConfig)}


def test_every_field_that_real_adds_is_described_once():
    added = {field.name for field in fields(REALConfig)} - {field.name for field in fields(GRPOConfig)}
    options = described(REALConfig)
    assert {field.name for field in options} == added | {"loss_type"}  # GRPOConfig has that one too, otherwise
    assert all(field.metadata["help"] and field.metadata["help"].when for field in options)


def test_the_docstring_and_the_help_say_what_the_fields_say():
    documented = " ".join(REALConfig.__doc__.split())
    spoken = {action.dest: action.help for action in HfArgumentParser(REALConfig)._actions}
    for field in described(REALConfig):
        assert f"{field.name} (`" in documented and str(field.metadata["help"]) in documented
        assert field.metadata["help"].when in documented
        assert spoken[field.name] == field.metadata["help"]


LATER = """
from dataclasses import dataclass
import trl
import trl.trainer.grpo_config as module

@dataclass
class GRPOConfig(module.GRPOConfig):
    padding_free: bool = False

    def __post_init__(self):
        super().__post_init__()
        assert self.padding_free in (True, False)

trl.GRPOConfig = module.GRPOConfig = GRPOConfig
from trl_real import REALConfig
from trl_real.contract import violations

for padding_free in (False, True):
    config = REALConfig("unused", use_cpu=True, bf16=False, padding_free=padding_free)
    print(config.padding_free, config.pack_rollouts)
print(REALConfig("unused", use_cpu=True, bf16=False, pack_rollouts=True).padding_free, violations())
"""


def test_packing_does_not_clash_with_a_padding_free_option_of_trl():
    run = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True)
    assert run.stdout.splitlines() == ["False None", "True None", "False []"], run.stderr


def test_the_documentation_is_the_table():
    assert PAGE.read_text("utf-8") == config_page()


def test_defaults_are_the_papers_and_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        defaults = config()
    assert (defaults.tau, defaults.loss_type, defaults.degenerate_groups, defaults.beta) == (0.5, "real", "drop", 0.0)
    assert defaults.disable_dropout and not defaults.vllm_importance_sampling_correction


# Not the default; for other fields 0.7, which is no default either
INERT_VALUES = dict(
    importance_sampling_level="sequence",
    scale_rewards="batch",
    multi_objective_aggregation="normalize_then_sum",
    vllm_importance_sampling_mode="token_mask",
)
REFUSED_VALUES = dict(
    top_entropy_quantile=0.2,
    off_policy_mask_threshold=0.5,
    neftune_noise_alpha=5.0,
    auto_find_batch_size=True,
    vllm_importance_sampling_correction=True,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: INERT_VALUES.get(name, 0.7)}, f"`{name}` has no effect in REAL") for name in INERT),
        (dict(kl_target="old"), "`kl_target='old'` has no effect while `beta` is 0"),
        (dict(loss_type=all_pairs, tau=0.1), "`tau` has no effect with a custom `loss_type`"),
        (dict(loss_type=all_pairs, degenerate_groups="keep"), "`degenerate_groups` has no effect with a custom"),
        (dict(loss_type=all_pairs, score_clip=0.1), "`score_clip` has no effect with a custom `loss_type`"),
    ],
)
def test_options_without_effect_warn(options, message):
    with pytest.warns(UserWarning, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({name: REFUSED_VALUES[name]}, [name, REFUSED[name].reason, REFUSED[name].instead]) for name in REFUSED),
        (dict(tau=-1.0), ["tau", "above 0"]),
        (dict(loss_type="dapo"), ["loss_type", "'real'", "'bce'", "'dapo'"]),
        (dict(score_clip=-0.1), ["score_clip", "above 0"]),
        (dict(degenerate_groups="maybe"), ["degenerate_groups", "'drop'", "'keep'"]),
        (dict(accelerator_config={"split_batches": True}), ["accelerator_config", "split_batches"]),
        (dict(accelerator_config={"dispatch_batches": True}), ["accelerator_config", "dispatch_batches"]),
        (dict(regularize="some"), ["regularize", "'all'", "'trained'"]),
        (dict(mismatch_limit=1.0), ["mismatch_limit", "above 1"]),
        (dict(kl_target="policy"), ["kl_target", "'ref'", "'old'"]),
        (dict(label_threshold=float("nan")), ["label_threshold", "finite"]),
        (dict(kl_target="old", beta=0.1, sync_ref_model=True), ["sync_ref_model", "kl_target='ref'"]),
    ],
)
def test_refused_options_are_named(options, words):
    with pytest.raises(ValueError) as error:
        config(**options)
    assert all(word in str(error.value) for word in words)


def test_a_step_that_splits_groups_is_refused_with_numbers_that_work():
    cut = dict(per_device_train_batch_size=2, num_generations=8)
    with pytest.raises(ValueError) as error:
        config(**cut, gradient_accumulation_steps=2, steps_per_generation=8)
    assert "4 rollouts" in str(error.value) and "not a multiple of num_generations=8" in str(error.value)
    assert "gradient_accumulation_steps=4, steps_per_generation=16" in str(error.value)
    config(**cut, gradient_accumulation_steps=4, steps_per_generation=16)


NUMBERS = st.integers(1, 12)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_numbers_that_an_error_proposes_pass_every_check(data):
    """Whatever is wrong at once: the generation, the optimizer step, the two together, evaluation."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size")
    wanted = {name: data.draw(NUMBERS) for name in names} | dict(num_generations=data.draw(st.integers(2, 12)))
    wanted |= dict(eval_strategy=data.draw(st.sampled_from(["no", "steps"])), eval_steps=1)
    size = data.draw(st.sampled_from([None, "steps_per_generation", "generation_batch_size"]))
    if size is not None:
        wanted[size] = data.draw(NUMBERS if size == "steps_per_generation" else st.integers(1, 60))
    try:
        config(**wanted)
    except ValueError as error:
        message = str(error)
        proposal = dict(re.findall(r"(\w+)=(\d+)", message.rpartition("Write ")[2]))
        assert proposal, message
        config(**wanted | {name: int(value) for name, value in proposal.items()})


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_proposals_count_every_process(processes):
    numbers = dict(per_device_train_batch_size=3, gradient_accumulation_steps=2, steps_per_generation=6)
    args = SimpleNamespace(**numbers, world_size=processes, num_generations=8, num_generations_eval=None)
    args.eval_strategy, args.per_device_eval_batch_size = "steps", 3
    assert wrong_batches(args, None)
    vars(args).update(nearest_batches(args, None))
    assert wrong_batches(args, None) is None
    assert args.steps_per_generation == 3 * args.gradient_accumulation_steps
