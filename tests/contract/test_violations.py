"""The contract against altered copies of TRL's classes and functions: whatever is gone or different is found."""

import dis
import functools
import importlib
import inspect
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import trl
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import utils

from tests.contract.altered import flat_copy, renamed, with_argument
from tests.support.cuts import trainer_for
from tests.support.scripts import python
from trl_real.contract import TESTED, check_contract, unread_keys, violations
from trl_real.contract.clauses import Clause, Has, Overrides, Returns, Spells, Takes, stored_attributes
from trl_real.contract.table import CONTRACT, TRAINER


def clauses(*kinds: type[Clause], trainer: bool = True) -> list[Any]:
    """Clauses of these kinds about the trainer, or about everything else."""
    return [clause for clause in CONTRACT if isinstance(clause, kinds) and clause.where.startswith(TRAINER) == trainer]


def method(clause: Clause) -> str:
    return clause.where.rpartition(".")[2]


NAMES = [name for clause in clauses(Has) for name in clause.names.split()]
KEYS = [key for clause in clauses(Spells) for key in clause.keys.split()]


def test_the_installed_libraries_keep_the_contract() -> None:
    assert violations() == []
    assert violations(flat_copy(GRPOTrainer)) == []  # so what the tests below find is what they changed


@pytest.mark.parametrize("name", sorted({method(clause) for clause in clauses(Takes, Overrides)} - {"__init__"}))
def test_a_renamed_method_is_found(name: str) -> None:
    assert f"`trl.GRPOTrainer.{name}` is gone" in "\n".join(violations(flat_copy(GRPOTrainer, without=name)))


@pytest.mark.parametrize("clause", clauses(Takes, Overrides), ids=method)
def test_a_new_argument_of_a_method_is_found(clause: Any) -> None:
    name, original = method(clause), getattr(GRPOTrainer, method(clause))
    found = violations(flat_copy(GRPOTrainer, **{name: with_argument(original, "needed")}))
    assert bool(found) == (clause.arguments is not None)
    assert all(f"GRPOTrainer.{name}`" in sentence and "needed" in sentence for sentence in found)
    found = violations(flat_copy(GRPOTrainer, **{name: with_argument(original, "optional", default=None)}))
    # An optional one matters where TRL would call ours with it
    assert bool(found) == (isinstance(clause, Overrides) and clause.arguments is not None)


@pytest.mark.parametrize("name", [method(clause) for clause in clauses(Overrides) if method(clause) != "__init__"])
def test_a_method_that_trl_no_longer_calls_is_found(name: str) -> None:
    uncalled = vars(renamed(GRPOTrainer, name, "another"))
    uncalled = {key: value for key, value in uncalled.items() if not key.startswith("__") or key == "__init__"}
    found = violations(flat_copy(GRPOTrainer, **uncalled))
    assert any(sentence.startswith(f"`trl.GRPOTrainer.{name}` is no longer called") for sentence in found)


@pytest.mark.parametrize("name", NAMES)
def test_a_removed_attribute_is_found(name: str) -> None:
    [sentence] = violations(renamed(GRPOTrainer, name, "another"))
    assert sentence.startswith(f"`trl.GRPOTrainer` has no `{name}`")


def test_an_attribute_that_is_read_but_no_longer_set_is_found() -> None:
    class Trainer:
        def __init__(self, args: Any):
            args.beta, self.gamma = self.beta, args.gamma

    found = "\n".join(violations(Trainer))
    assert "has no `gamma`" not in found and "has no `_step`" in found
    assert "has no `beta`" not in found  # set on another object; cannot be told apart, and errs towards working


@pytest.mark.parametrize("key", KEYS)
def test_a_renamed_key_is_found(key: str) -> None:
    found = violations(renamed(GRPOTrainer, key, "another"))
    assert sum(sentence.startswith(f'`trl.GRPOTrainer` has no key "{key}"') for sentence in found) == 1
    assert len(found) == 1 or key == "train"  # that is a method's name, too


@pytest.mark.parametrize("clause", clauses(Takes, trainer=False), ids=lambda clause: clause.name)
def test_a_changed_function_is_found(clause: Takes, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = clause.where.partition(":")
    function = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(f"{module}.{name}", with_argument(function, "optional", default=None))
    assert violations() == []
    monkeypatch.setattr(f"{module}.{name}", with_argument(function, "needed"))
    assert [sentence.startswith(f"`{clause.name}` needs an argument needed") for sentence in violations()] == [True]
    monkeypatch.setattr(f"{module}.{name}", lambda other: None)
    assert violations()[0].startswith(f"`{clause.name}` takes ('other',)")
    monkeypatch.delattr(f"{module}.{name}")
    assert {sentence.partition(" (")[0] for sentence in violations()} == {f"`{clause.name}` is gone"}


SCORED, LOGPS = "_generate_and_score_completions", "_get_per_token_logps_and_entropies"


@pytest.mark.parametrize(
    ("method", "before", "after", "message"),
    [
        ("_generate", "return prompt_ids, completion", "return prompt_ids, mask, completion", "returns 9 values"),
        ("_generate", "return prompt_ids, completion", "return completion", "returns 7 values, not 8"),
        (LOGPS, "return logps, entropies, aux_loss", "return Scores(logps)", "returns an unknown number of"),
        (SCORED, '"completion_mask": completion_mask', '"mask": 0', 'no longer returns "completion_mask"'),
        (SCORED, 'output["tool_mask"] =', 'output["sampling_ratio"] =', 'no longer returns "tool_mask"'),
    ],
)
def test_a_changed_return_is_found(method: str, before: str, after: str, message: str, monkeypatch: Any) -> None:
    source = inspect.getsource
    assert before in source(getattr(GRPOTrainer, method))
    monkeypatch.setattr(inspect, "getsource", lambda function: source(function).replace(before, after))
    assert any(sentence.startswith(f"`trl.GRPOTrainer.{method}` {message}") for sentence in violations())


def test_a_new_key_of_a_generation_is_a_warning_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unread_keys() == []  # on the installed TRL; decide about a new key in the table
    source, before = inspect.getsource, 'output["tool_mask"] ='
    both = f'output["sampling_ratio"] = 1; {before}'
    monkeypatch.setattr(inspect, "getsource", lambda function: source(function).replace(before, both))
    assert violations() == []
    with pytest.warns(UserWarning, match="TRL now also returns sampling_ratio with a generation"):
        check_contract("1.17.0")


def test_a_pad_that_returns_rows_of_their_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = utils.pad
    monkeypatch.setattr(utils, "pad", functools.wraps(original)(lambda *args, **kwargs: [original(*args, **kwargs)]))
    [sentence] = violations()
    assert sentence.startswith("`trl.trainer.utils.pad` fails: AttributeError")
    monkeypatch.setattr(utils, "pad", functools.wraps(original)(lambda rows, *_: original(rows, 0, "left", 2)))
    [sentence] = violations()
    assert sentence.startswith("`trl.trainer.utils.pad` behaves differently")


def test_an_option_of_trl_with_the_name_of_ours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Later(GRPOConfig):
        tau: float = field(default=1.0)

    monkeypatch.setattr(trl, "GRPOConfig", Later)
    [sentence] = violations()
    assert sentence.startswith("`trl.GRPOConfig` has a `tau` of its own now")


def test_a_loss_that_is_divided_again_is_found() -> None:
    [sentence] = violations(flat_copy(GRPOTrainer, loss_is_scaled_for_ga=None))
    assert sentence.startswith("`trl.GRPOTrainer.loss_is_scaled_for_ga` behaves differently")


def test_a_head_without_a_path_on_this_device_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", None)  # as TRL 1.15 has it without Triton
    [sentence] = violations()
    assert sentence.startswith("`trl.trainer.utils.add_fused_lm_head` fails: AttributeError")


def test_a_head_that_shifts_the_labels_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = utils.add_fused_lm_head

    def shifted(model: Any, **kwargs: Any) -> None:
        original(model, **kwargs)
        forward = model.forward

        def roll(**inputs: Any) -> Any:
            return forward(**{key: x.roll(1, 1) if key == "shift_labels" else x for key, x in inputs.items()})

        model.forward = roll

    monkeypatch.setattr(utils, "add_fused_lm_head", shifted)
    [sentence] = violations()
    assert sentence.startswith("`trl.trainer.utils.add_fused_lm_head` behaves differently")


UNTESTED = ["1.15.9", "1.17.0", "1.17.0.dev0", "2.0.0", "0.29.1"]


@pytest.mark.parametrize("version", [*UNTESTED, "1.16.0", "1.16.3", "1.16.0.dev0", None])
def test_only_an_untested_trl_gives_a_warning(version: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_contract(version)
    expected = [f"not tested with trl {version}, only with trl>=1.16,<1.17"] * (version in UNTESTED)
    assert all(text in str(warning.message) for text, warning in zip(expected, caught, strict=True))


@pytest.mark.parametrize("version", ["1.16.0", "1.17.0"])
def test_a_broken_contract_is_one_clear_error(version: str) -> None:
    with pytest.raises(ImportError) as error:
        check_contract(version, renamed(GRPOTrainer, "_step", "_micro_step"))
    lines = str(error.value).splitlines()
    assert f"trl-real does not work with trl {version}" in lines[0]
    assert lines[1] == "- `trl.GRPOTrainer` has no `_step` (the position in the run)"
    tested = [f"{name}>={first},<{end}" for name, (first, end) in TESTED.items()]
    assert " and ".join(tested) in lines[2] and "pip install " + " ".join(f"'{line}'" for line in tested) in lines[2]


def test_the_check_comes_before_the_trainer_classes() -> None:
    script = """
import trl.trainer.utils
from trl import GRPOTrainer
del trl.trainer.utils.nanstd
for line in ("from trl_real import REALTrainer", "from trl_real.validation.trainer import ValidatingTrainer"):
    try:
        exec(line)
    except ImportError as error:
        print(str(error).splitlines()[1])
"""
    run = python("-c", script)
    assert run.stdout.splitlines() == ["- `trl.trainer.utils.nanstd` is gone (spread of rewards)"] * 2, run.stderr


def test_the_check_reads_little_source_and_disassembles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either takes ten times as long, and every import of the trainer waits for it."""
    monkeypatch.setattr(dis, "get_instructions", lambda *_: pytest.fail("it is slow"))
    source, read = inspect.getsource, []
    monkeypatch.setattr(inspect, "getsource", lambda function: read.append(function) or source(function))
    check_contract()
    assert len(read) == len(clauses(Returns)) == 3


def test_the_check_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    violations()
    assert torch.equal(before, torch.get_rng_state())


def test_stored_attributes_are_those_that_python_disassembles() -> None:
    code = inspect.unwrap(GRPOTrainer.__init__).__code__
    expected = {item.argval for item in dis.get_instructions(code) if item.opname == "STORE_ATTR"}
    assert stored_attributes(code) == expected and "_step" in expected and len(code.co_names) > 256


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


def test_the_sampler_repeats_complete_groups_in_order_and_its_permutation_can_be_skipped():
    sampler = utils.RepeatSampler(range(6), mini_repeat_count=2, batch_size=3, repeat_count=2, seed=3)
    first, second = list(sampler), list(sampler)
    assert first[:6] == first[6:12] and first[0] == first[1] and first != second
    other = utils.RepeatSampler(range(6), mini_repeat_count=2, batch_size=3, repeat_count=2, seed=3)
    torch.randperm(other.num_samples, generator=other.generator)
    assert other.shuffle and list(other) == second


def test_vllm_reads_its_sampling_again_in_every_generation():
    source = inspect.getsource(VLLMGeneration.generate)
    assert all(f"self.{name}" in source for name in ("temperature", "top_p"))
