"""
Completions of prompts, by Transformers.

In: a model, prompts as tokens, and for each the settings of sampling and a seed. Out: the tokens of each completion
and whether it was cut off. Each row draws by a seed of its own, so that a completion does not depend on what is
sampled beside it, but for the rounding of a batch. Left out: gathering batches (`provider.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from .models import ModelSource
from .settings import SamplingSettings


@dataclass(frozen=True)
class Completion:
    """Tokens with the one that ends the sequence, if it came; `truncated` if it did not."""

    ids: list[int]
    truncated: bool


class SeededDraw(LogitsProcessor):
    """
    Draws one token for each row and leaves no other: the first whose cumulated probability is above the row's next
    random number. Greedy decoding after it takes what was drawn.

    Args:
        seeds (`Sequence[int]`):
            One for each row.
        steps (`int`):
            Number of tokens that are drawn at most.
        device (`torch.device` or `str`):
            Where the scores are.
    """

    def __init__(self, seeds: Sequence[int], steps: int, device: torch.device | str) -> None:
        # on the CPU, so that every device draws by the same numbers; Apple's GPUs have no float64
        self.dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        draws = [torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=self.dtype) for seed in seeds]
        self.draws = iter(torch.stack(draws, dim=1).unsqueeze(-1).to(device))  # each (B, 1)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (B, V) that are 0 for the drawn token of a row, and minus infinity for the others."""
        cumulated = scores.to(self.dtype).softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(cumulated, next(self.draws) * cumulated[:, -1:], right=True)
        drawn = drawn.clamp(max=scores.size(-1) - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn, 0.0)


class TransformersSampler:
    """
    Generates with Transformers, all prompts of a call at once.

    Args:
        source (`ModelSource`):
            The model. An adapter is merged into its base.
        tokenizer (`PreTrainedTokenizerBase`):
            Its tokenizer.
        dtype (`str`):
            Precision of the weights.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            Where it lies.
    """

    def __init__(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        dtype: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = device
        try:
            self.model = _load_model(source, dtype).eval().to(device)
        except OSError as error:
            raise ValueError(f"models: cannot load {source.name}: {str(error).splitlines()[0]}") from error
        self.ends = source.end_tokens(tokenizer)
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[list[int]], settings: SamplingSettings, seeds: Sequence[int]
    ) -> list[Completion]:
        """
        One completion for each prompt.

        Args:
            prompts (`Sequence[list[int]]`):
                Their tokens.
            settings (`SamplingSettings`):
                How to sample.
            seeds (`Sequence[int]`):
                One for each prompt.

        Returns:
            `list[Completion]`: in the order of the prompts.
        """
        longest = max(map(len, prompts))
        padded = torch.tensor([[self.pad] * (longest - len(ids)) + ids for ids in prompts])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
        # the model's own defaults would fill every field that is left out
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=settings.max_new_tokens,
            repetition_penalty=settings.repetition_penalty,
            eos_token_id=self.ends,
            pad_token_id=self.pad,
            disable_compile=True,
        )
        generated = self.model.generate(
            input_ids=padded.to(self.device),
            attention_mask=mask.to(self.device),
            logits_processor=self._drawing(settings, seeds),
        )
        return [self._cut(ids) for ids in generated[:, longest:].tolist()]

    def _drawing(self, settings: SamplingSettings, seeds: Sequence[int]) -> LogitsProcessorList:
        if settings.temperature == 0:
            return LogitsProcessorList()
        steps: list[LogitsProcessor] = [TemperatureLogitsWarper(float(settings.temperature))]
        if settings.top_k:
            steps.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            steps.append(TopPLogitsWarper(settings.top_p))
        if settings.min_p:
            steps.append(MinPLogitsWarper(settings.min_p))
        return LogitsProcessorList([*steps, SeededDraw(seeds, settings.max_new_tokens, self.device)])

    def _cut(self, ids: list[int]) -> Completion:
        end = next((position for position, token in enumerate(ids) if token in self.ends), None)
        return Completion(ids if end is None else ids[: end + 1], truncated=end is None)


def _load_model(source: ModelSource, dtype: str) -> PreTrainedModel:
    if source.base is None:
        return AutoModelForCausalLM.from_pretrained(source.path, revision=source.revision, dtype=dtype)
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(source.base.path, revision=source.base.revision, dtype=dtype)
    return PeftModel.from_pretrained(base, source.path, revision=source.revision).merge_and_unload()
