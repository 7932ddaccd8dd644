"""What a model's name stands for: folders, adapters, checkpoints and the cache of the hub."""

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from tests.support.math_run import math_tokenizer
from tests.support.tiny import tiny_tokenizer
from tests.support.trainers import save_tiny_model, tiny_llama
from trl_real.evaluation.models import encode_prompts, find_model


CHAT = [[{"role": "user", "content": "one"}], [{"role": "user", "content": "one two"}]]


def test_other_weights_in_the_same_folder_are_another_model(tmp_path: Path) -> None:
    before = find_model(save_tiny_model(tmp_path / "a"))
    copied = find_model(str(shutil.copytree(tmp_path / "a", tmp_path / "b")))
    (tmp_path / "a" / "trainer_state.json").write_text("{}")
    assert before.identity == copied.identity == find_model(str(tmp_path / "a")).identity
    weights = tmp_path / "a" / "model.safetensors"
    content, identities = bytearray(weights.read_bytes()), {before.identity}
    for position in (0, len(content) // 2, len(content) - 1):
        weights.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        identities.add(find_model(str(tmp_path / "a")).identity)
    assert len(identities) == 4


def test_an_adapter_has_the_weights_of_its_base_and_its_own(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    adapted = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear"))
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(tmp_path / "adapter")
    source = find_model(str(tmp_path / "adapter"))
    assert source.base == find_model(base)
    assert source.identity.endswith(f" on {source.base.identity}")
    assert source.load_tokenizer().eos_token == "<eos>"  # the base's: the adapter has none
    assert source.longest() == 2048


def test_a_revision_of_the_hub_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache as a download leaves it."""
    model = tmp_path / "models--somebody--tiny"
    for revision, commit in {"main": "a" * 40, "v2": "b" * 40}.items():
        save_tiny_model(model / "snapshots" / commit)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / revision).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    newest, second = find_model("somebody/tiny"), find_model("somebody/tiny@v2")
    assert (newest.identity, second.identity) == ("a" * 40, "b" * 40)
    assert second.load_tokenizer().eos_token == "<eos>"
    with pytest.raises(ValueError, match="models: there is no folder somebody/tiny@v3 .*the cache does not contain"):
        find_model("somebody/tiny@v3")


def test_a_folder_without_a_model_names_the_checkpoint_in_it(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "run" / "checkpoint-4")
    with pytest.raises(ValueError, match="models: .*run contains neither .*Did you mean .*run/checkpoint-4"):
        find_model(str(tmp_path / "run"))
    with pytest.raises(ValueError, match="models: there is no folder .*nowhere .*Write a folder"):
        find_model(str(tmp_path / "nowhere"))


def test_answers_end_where_the_tokenizer_or_the_generation_settings_say(tmp_path: Path) -> None:
    name = save_tiny_model(tmp_path)
    settings = tmp_path / "generation_config.json"
    for eos, ends in ((5, [1, 5]), ([5, 1], [1, 5])):
        settings.write_text(json.dumps({"eos_token_id": eos}))
        assert find_model(name).end_tokens(tiny_tokenizer()) == ends
    settings.unlink()
    assert find_model(name).end_tokens(tiny_tokenizer()) == [1]


def test_prompts_take_the_chat_template_or_are_bare() -> None:
    tokenizer = math_tokenizer()
    one = tokenizer("one")["input_ids"]
    assert encode_prompts(tokenizer, CHAT, "m", {}) == [one, tokenizer("one two")["input_ids"]]
    tokenizer.chat_template = "{% if loud %}one {% endif %}{{ messages[0]['content'] }}"
    assert encode_prompts(tokenizer, CHAT[:1], "m", {"loud": True}) == [one * 2]
    assert encode_prompts(tiny_tokenizer(), ["w1 w2"], "m", {}) == [tiny_tokenizer()("w1 w2")["input_ids"]]
    with pytest.raises(ValueError, match="models: the tokenizer of m has no chat template.*--prompt_format plain"):
        encode_prompts(tiny_tokenizer(), CHAT, "m", {})
