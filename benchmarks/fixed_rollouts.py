"""Fixed rollouts of a wanted label mix and length distribution, and the model that trains on them.

In: a `Setting` and a mix. Out: `Rollouts`, which TRL's trainers read through `rollout_func` and a reward function, so
that nothing is generated and every trainer sees the same rows.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM


MIXES = {"late": (0.60, 0.10), "early": (0.22, 0.25), "worst": (0.0, 0.0)}  # all correct, all incorrect groups


def about(text: str, default: Any) -> Any:
    """A field with a default and a line for `--help`."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Setting:
    """Size of the model and of a generation. With 20 groups the shares of the mixes are whole groups, or nearly."""

    rollouts: int = about("Rollouts per generation.", 160)
    group: int = about("Rollouts per prompt.", 8)
    batch: int = about("Rollouts per micro-step.", 8)
    longest: int = about("Completion cap in tokens.", 128)
    prompt: int = about("Prompt length in tokens.", 16)
    hidden: int = about("Width of the model.", 128)
    layers: int = about("Layers of the model.", 4)
    vocabulary: int = about("Tokens of the model's vocabulary.", 2048)
    generations: int = about("Measured generations, after one to warm up.", 2)
    gradient_checkpointing: bool = about("Recompute activations in the backward.", False)
    entropy_coef: float = about("Entropy bonus of both trainers, a term beside the objective.", 0.0)
    regularize: str = about("Rollouts that such a term acts on in REAL: all or trained.", "all")


def build_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token per word; only its special tokens matter here."""
    words = {word: index for index, word in enumerate(["<pad>", "<eos>", *(f"w{i}" for i in range(vocabulary - 2))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def build_model(setting: Setting) -> Qwen2ForCausalLM:
    """A Qwen2 of the wanted size with random weights, the same in every call."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=setting.vocabulary,
        hidden_size=setting.hidden,
        intermediate_size=3 * setting.hidden,
        num_hidden_layers=setting.layers,
        num_attention_heads=setting.hidden // 32,
        num_key_value_heads=max(setting.hidden // 64, 1),
        max_position_embeddings=setting.prompt + setting.longest,
        eos_token_id=1,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config)


class Rollouts:
    """
    Lengths and rewards of a generation.

    Args:
        shares (`tuple[float, float]`):
            Shares of the groups that are all right and all wrong, rounded to whole groups; the others have at least
            one rollout of either kind.
        setting ([`Setting`]):
            Number of rollouts, group size and lengths.
        equal_lengths (`bool`, *optional*, defaults to `False`):
            Whether every completion has the full length. Otherwise lengths are log-normal, with a mean near 0.4 of
            the cap.
    """

    def __init__(self, shares: tuple[float, float], setting: Setting, equal_lengths: bool = False):
        generator = torch.Generator().manual_seed(1)
        groups, size = setting.rollouts // setting.group, setting.group
        right, wrong = (round(share * groups) for share in shares)
        self.shares = (right / groups, wrong / groups, (groups - right - wrong) / groups)
        rewards = torch.zeros(groups, size)
        rewards[:right] = 1.0
        for group in range(right + wrong, groups):
            positives = int(torch.randint(1, size, (1,), generator=generator))
            rewards[group, torch.randperm(size, generator=generator)[:positives]] = 1.0
        rewards = rewards[torch.randperm(groups, generator=generator)]
        self.rewards = rewards.flatten().tolist()
        mixed = (rewards.mean(dim=1) > 0) & (rewards.mean(dim=1) < 1)
        self.informative = mixed.repeat_interleave(size).nonzero().flatten().tolist()
        self.lengths = [setting.longest] * len(self.rewards)
        if not equal_lengths:
            spread = torch.randn(len(self.rewards), generator=generator) * 0.6 + torch.tensor(0.33).log()
            self.lengths = (spread.exp() * setting.longest).clamp(8, setting.longest).long().tolist()
        ids = torch.randint(2, setting.vocabulary, (len(self.rewards), setting.longest), generator=generator).tolist()
        self.completions = [row[:length] for row, length in zip(ids, self.lengths, strict=True)]
        prompts = torch.randint(2, setting.vocabulary, (groups, setting.prompt), generator=generator).tolist()
        self.prompts = [prompts[row // size] for row in range(len(self.rewards))]

    @property
    def trained_tokens(self) -> int:
        """Completion tokens of the rollouts that have a gradient."""
        return sum(self.lengths[row] for row in self.informative)

    def rollout_func(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """This process's part of the generation, for TRL."""
        first = trainer.accelerator.process_index * len(prompts)
        rows = range(first, first + len(prompts))
        return {
            "prompt_ids": [self.prompts[row] for row in rows],
            "completion_ids": [self.completions[row] for row in rows],
            "logprobs": [[0.0] * self.lengths[row] for row in rows],
            "row": list(rows),
        }

    def reward(self, prompts: list[str], row: list[int], **kwargs: Any) -> list[float]:
        """The reward of every row."""
        return [self.rewards[index] for index in row]
