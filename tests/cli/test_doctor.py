"""The command trl-real doctor: what a machine lacks, and the layouts of a model that it computes correctly."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from transformers import MambaConfig, MambaForCausalLM

from tests.cli.test_commands import RECIPES, run
from tests.step.test_trial import over_all_rows, see_everything
from tests.support.scripts import write_recipe
from tests.support.trainers import tiny_llama
from trl_real.cli import doctor, main
from trl_real.recipe.shipped import recipe_paths
from trl_real.step import attention as packing
from trl_real.step.attention import Prefixes


@pytest.fixture(autouse=True)
def own_precision() -> Iterator[None]:
    """Accelerate keeps that of the first in a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_the_doctor_says_what_each_recipe_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [lack] = doctor.recipe_lacks(RECIPES / "quickstart.yaml")
    assert "trl-real recipes model" in lack
    assert doctor.recipe_lacks(write_recipe(tmp_path)) == []
    (tmp_path / "wrong.yaml").write_text("tua: 1")
    assert "Did you mean `tau`" in doctor.recipe_lacks(tmp_path / "wrong.yaml")[0]


def test_only_essentials_make_the_doctor_fail(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = run(capsys, "doctor")
    assert all(path.stem in printed for path in recipe_paths(RECIPES))
    versions = doctor.metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.1" if name == "peft" else versions(name))
    with pytest.raises(SystemExit, match="broken: a package"):
        main(["doctor"])
    assert "peft 0.1 does not fit: pip install 'peft>=" in capsys.readouterr().out
    assert "vllm: lacks vllm: pip install" in printed  # which two of its requirements ask for
    assert all(f"trl-real {words}" in printed or words in printed for words in ("doctor --gpu", "make test-gpu"))


def test_a_tiny_model_is_packed_with_shared_prompts_and_a_cpu_is_called_one(capsys: pytest.CaptureFixture) -> None:
    printed = run(capsys, "doctor", "--gpu")
    assert "there is no GPU" in printed and "  packed, prompts shared\n" in printed
    assert all(f"{name}: 0.0e+00 nats from padded rows" in printed for name in ("packed rows", "shared prompts"))


def test_what_a_models_settings_rule_out_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_llama().save_pretrained(tmp_path / "llama")
    named = ["doctor", "--gpu", "--model_name_or_path", str(tmp_path / "llama"), "--attn_implementation", "eager"]
    assert "  packed, prompts not shared (attn_implementation is eager" in run(capsys, *named)
    size = dict(vocab_size=63, hidden_size=16, num_hidden_layers=1, state_size=4)
    MambaForCausalLM(MambaConfig(**size)).save_pretrained(tmp_path / "mamba")
    printed = run(capsys, "doctor", "--gpu", "--model_name_or_path", str(tmp_path / "mamba"))
    assert "  padded (it carries a state from token to token)" in printed and "nats" not in printed


@pytest.mark.parametrize("attention", packing.BY_ROW)
def test_a_leak_is_a_failure(attention: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packing.AttentionInterface._global_mapping, packing.BY_ROW[attention], over_all_rows)
    with pytest.raises(SystemExit, match="^failed: "):
        main(["doctor", "--gpu", "--attn_implementation", attention])
    assert "  padded (a row changes its neighbor" in capsys.readouterr().out


def test_a_leak_behind_a_prompt_is_a_failure(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prefixes, "mask", see_everything)
    with pytest.raises(SystemExit, match="^failed: "):
        main(["doctor", "--gpu"])
    assert "  packed, prompts not shared (a rollout has other log-probabilities" in capsys.readouterr().out


def test_a_layout_that_passes_the_trial_wrongly_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trl_real.step.choice.passes", lambda totals: True)
    monkeypatch.setitem(packing.AttentionInterface._global_mapping, packing.ROW_BY_ROW, over_all_rows)
    with pytest.raises(SystemExit, match="^failed: "):
        main(["doctor", "--gpu"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--gpu --model_name_or_path nowhere/no", "^error: model_name_or_path: nowhere/no: .* Write a folder"),
        ("--gpu --attn_implementation flash", "^error: attn_implementation: flash cannot be used .* Write sdpa"),
        ("--attn_implementation sdpa", "2"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(words: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        main(["doctor", *words.split()])
