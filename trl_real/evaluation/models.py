"""
What a model's name stands for, and its prompts as tokens.

In: a hub id (with `@revision`, if it is not the newest) or a folder: a model, an adapter, or a checkpoint of either.
Out: where weights and tokenizer come from, a word that tells these weights from others, and prompts as tokens. Left
out: reading weights (`transformers_api.py`, and vLLM).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file, find_adapter_config_file

from ..data.loading import hub_or_cache, why_not
from .problems import Prompt


SLICE, SLICES = 2**12, 2**12  # bytes, and how many of them tell a file: of a 7B model 60 MB are read


@dataclass(frozen=True)
class ModelSource:
    """
    Folder, or hub id and revision, of a model that can be loaded, under the name that was given; for an adapter with
    its base. `identity` tells its weights from others: the commit on the hub, or a digest of the files.
    """

    name: str
    path: str
    revision: str | None
    identity: str
    base: "ModelSource | None" = None

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer beside the weights, or that of the base where an adapter has none."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.path, revision=self.revision)
        except (OSError, ValueError):
            if self.base is None:
                raise
            return self.base.load_tokenizer()
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
    """Finds a folder, or a hub id with or without `@revision`, without reading its weights."""
    folder = Path(name).expanduser()
    path, _, revision = (str(folder), "", "") if folder.exists() else name.partition("@")
    try:
        with hub_or_cache():
            adapter = find_adapter_config_file(path, revision=revision or None)
            config = adapter or cached_file(path, "config.json", revision=revision or None)
        if config is None:  # of a file that is asked for often Transformers does not raise
            raise OSError(f"{path} has no config.json.")
    except OSError as error:
        raise ValueError(f"models: {_why_not(name, folder, error)}") from error
    identity, base = _digest(folder) if folder.exists() else Path(config).parent.name, None
    if adapter is not None:
        described = json.loads(Path(adapter).read_text("utf-8"))
        base_revision = f"@{described['revision']}" if described.get("revision") else ""
        base = find_model(described["base_model_name_or_path"] + base_revision)
        identity += f" on {base.identity}"
    return ModelSource(name, path, revision or None, identity, base)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: list[Prompt], name: str, template_options: dict[str, Any]
) -> list[list[int]]:
    """Prompts as tokens, as the trainer would write them; `name` is what an error calls the model."""
    if isinstance(prompts[0], str):
        return tokenizer(prompts)["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError(
            f"models: the tokenizer of {name} has no chat template, which the prompts need. Write --prompt_format "
            "plain to send the bare text of each prompt, as to a base model."
        )
    return tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False, **template_options)


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
    """Of names, sizes and contents of the model's files; of a large file, of slices at equal distances."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json")):
        if path.name in ("trainer_state.json", "training_data.json"):  # logs, which a resumed training writes anew
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open(path, "rb") as file:
            for start in range(0, size, max(SLICE, size // SLICES)):
                file.seek(start)
                digest.update(file.read(SLICE))
    return digest.hexdigest()
