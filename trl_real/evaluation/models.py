"""Models by name (a folder, or a hub id with or without `@revision`), and their prompts as tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file, find_adapter_config_file

from ..data.loading import hub_or_cache, why_not


SLICE, SLICES = 2**12, 2**12  # bytes, and how many slices identify a file: 60 MB of a 7B model are read


@dataclass(frozen=True)
class ModelSource:
    """
    Folder, or hub id and revision, of a model that can be loaded; an adapter has a base. `name` is the given name,
    `identity` distinguishes its weights from others: the commit on the hub, or a digest of the files.
    """

    name: str
    path: str
    revision: str | None
    identity: str
    base: "ModelSource | None" = None

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer beside the weights, or the base's if an adapter has none."""
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
        """All tokens that end an answer: the tokenizer's, and those of the model's generation settings."""
        source = self.base or self
        try:
            settings: Any = GenerationConfig.from_pretrained(source.path, revision=source.revision or "main")
        except OSError:  # it has none
            settings = self._config()
        others = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        ends: list[Any] = [tokenizer.eos_token_id, *others]
        return list(dict.fromkeys(end for end in ends if end is not None))

    def longest(self) -> int | None:
        """The number of tokens, prompt included, that the model has positions for; `None` if unknown."""
        return getattr(self._config(), "max_position_embeddings", None)

    def _config(self) -> Any:
        source = self.base or self
        return AutoConfig.from_pretrained(source.path, revision=source.revision).get_text_config()


def find_model(name: str) -> ModelSource:
    """Finds a folder, or a hub id with or without `@revision`, without reading its weights."""
    folder = Path(name).expanduser()
    path, _, revision = (str(folder), "", "") if folder.exists() else name.partition("@")
    try:
        with hub_or_cache():
            adapter = find_adapter_config_file(path, revision=revision or None)
            config = adapter or cached_file(path, "config.json", revision=revision or None)
        if config is None:  # for some files Transformers returns None
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
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Any], name: str, template_options: dict[str, Any]
) -> list[list[int]]:
    """Prompts as tokens, as the trainer would write them; `name` is the model's, for an error."""
    if isinstance(prompts[0], str):
        return tokenizer(list(prompts))["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError(
            f"models: the tokenizer of {name} has no chat template, which the prompts need. Write --prompt_format "
            "plain to send the bare text of each prompt, as to a base model."
        )
    ids: Any = tokenizer.apply_chat_template(
        list(prompts), add_generation_prompt=True, return_dict=False, **template_options
    )
    return ids


def _why_not(name: str, folder: Path, error: OSError) -> str:
    if not folder.exists():
        return (
            f"there is no folder {name} (searched from {Path.cwd()}), and {why_not(error)}. Write a folder, a hub id, "
            "or hub-id@revision."
        )
    inside = sorted(path.parent.name for path in folder.glob("*/*config.json"))
    hint = f" Did you mean {folder / inside[-1]}?" if inside else ""
    return f"{name} contains neither config.json nor adapter_config.json.{hint}"


def _digest(folder: Path) -> str:
    """Of names, sizes and contents of the model's files; of a large file, of slices at equal distances."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json")):
        if path.name in ("trainer_state.json", "training_data.json"):  # logs, which a resumed training rewrites
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open(path, "rb") as file:
            for start in range(0, size, max(SLICE, size // SLICES)):
                file.seek(start)
                digest.update(file.read(SLICE))
    return digest.hexdigest()
