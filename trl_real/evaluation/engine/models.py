"""
What a name of a model stands for, and how prompts are written for it.

In: a hub id (with `@revision`, if it is not the newest) or a folder: a model, an adapter, or a checkpoint of either.
Out: where weights and tokenizer come from, a word that tells these weights from others, and prompts as tokens. Left
out: reading weights (`sampler.py`, and vLLM).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file

from ...data.loading import hub_or_cache, why_not


WHOLE, STRIDE, SLICE = 2**26, 2**20, 2**12  # bytes; of a 7B model 60 MB are read


@dataclass(frozen=True)
class ModelSource:
    """
    A model that can be loaded.

    Args:
        name (`str`):
            As it was given.
        path (`str`):
            Folder or hub id.
        revision (`str`, *optional*):
            Revision on the hub.
        identity (`str`):
            Tells its weights from others under the same name: the commit on the hub, or a digest of the files.
        base (`ModelSource`, *optional*):
            The model that an adapter belongs to.
    """

    name: str
    path: str
    revision: str | None
    identity: str
    base: "ModelSource | None" = None

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer beside the weights, or that of the base where an adapter has none."""
        has_own = _find(self.path, "tokenizer_config.json", self.revision)
        source = self if has_own or self.base is None else self.base
        tokenizer = AutoTokenizer.from_pretrained(source.path, revision=source.revision)
        if tokenizer.eos_token_id is None:
            raise ValueError(f"models: the tokenizer of {self.name} has no eos_token, so no answer would ever end.")
        return tokenizer

    def end_tokens(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """All tokens that end an answer: the tokenizer's, and those that the model's generation settings add."""
        source = self.base or self
        try:
            settings = GenerationConfig.from_pretrained(source.path, revision=source.revision)
        except OSError:  # it has none
            settings = AutoConfig.from_pretrained(source.path, revision=source.revision).get_text_config()
        others = settings.eos_token_id
        others = [] if others is None else others if isinstance(others, list) else [others]
        return list(dict.fromkeys([tokenizer.eos_token_id, *others]))

    def longest(self) -> int | None:
        """The number of tokens, prompt included, that the model has positions for; `None` if it does not say."""
        source = self.base or self
        config = AutoConfig.from_pretrained(source.path, revision=source.revision).get_text_config()
        return getattr(config, "max_position_embeddings", None)


def find_model(name: str) -> ModelSource:
    """
    Finds a model without reading its weights.

    Args:
        name (`str`):
            A folder, or a hub id with or without `@revision`.

    Returns:
        `ModelSource`: where it is.
    """
    folder = Path(name).expanduser()
    path, _, revision = (str(folder), "", "") if folder.exists() else name.partition("@")
    try:
        with hub_or_cache():
            adapter = _find(path, "adapter_config.json", revision or None)
            config = adapter or _find(path, "config.json", revision or None, may_lack=False)
    except OSError as error:
        raise ValueError(f"models: {_why_not(name, folder, error)}") from error
    identity, base = _digest(folder) if folder.exists() else config.parent.name, None
    if adapter is not None:
        described = json.loads(adapter.read_text("utf-8"))
        base_revision = f"@{described['revision']}" if described.get("revision") else ""
        base = find_model(described["base_model_name_or_path"] + base_revision)
        identity += f" on {base.identity}"
    return ModelSource(name, path, revision or None, identity, base)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str | list[dict[str, str]]],
    name: str,
    template_options: dict[str, Any],
) -> list[list[int]]:
    """
    Prompts as tokens, as the trainer would write them.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        prompts (`list`):
            Texts, or lists of messages, which take the chat template.
        name (`str`):
            What the error calls the model.
        template_options (`dict[str, Any]`):
            Further arguments of the chat template.

    Returns:
        `list[list[int]]`: tokens of each prompt.
    """
    if isinstance(prompts[0], str):
        return tokenizer(prompts)["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError(
            f"models: the tokenizer of {name} has no chat template, which the prompts need. Write --prompt_format "
            "plain to send the bare text of each prompt, as to a base model."
        )
    return tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False, **template_options)


def _find(path: str, file: str, revision: str | None, may_lack: bool = True) -> Path | None:
    try:
        found = cached_file(path, file, revision=revision)
        if found is None:  # some files are asked for so often that Transformers does not raise
            raise OSError(f"{path} has no {file}.")
        return Path(found)
    except OSError:
        if may_lack:
            return None
        raise


def _why_not(name: str, folder: Path, error: OSError) -> str:
    if not folder.exists():
        return (
            f"there is no folder {name} (looked from {Path.cwd()}), and {why_not(error)}. Write a folder, a hub id, "
            "or hub-id@revision."
        )
    inside = sorted(path.parent.name for path in folder.glob("*/*config.json"))
    hint = f" Did you mean {folder / inside[-1]}?" if inside else ""
    return f"{name} holds neither config.json nor adapter_config.json.{hint}"


def _digest(folder: Path) -> str:
    """
    Of the names, the sizes and the contents of the files that make the model. Of a large file only one slice of each
    stride: the whole would take minutes, and a tensor that training changes is as long as a stride or one of many.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json")):
        if path.name in ("trainer_state.json", "training_data.json"):  # logs, which a resumed training writes anew
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open(path, "rb") as file:
            for start in range(0, size, SLICE if size <= WHOLE else STRIDE):
                file.seek(start)
                digest.update(file.read(SLICE))
    return digest.hexdigest()
