"""
Completions of prompts, by Transformers or by vLLM.

In: a model, the settings of sampling, prompts as tokens and a seed. Out: the tokens of each completion and whether it
was cut off. The same prompts together with the same seed give the same completions on the same machine. Left out: what
is sampled when (`trl_real.evaluation.sampling.store`), and several GPUs for one model.
"""

import importlib.util
import os
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from .models import ModelSource


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is drawn; the names are those of Transformers. Temperature 0 takes the likeliest."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float | None
    repetition_penalty: float
    max_new_tokens: int

    def __post_init__(self) -> None:
        checks = {
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (all tokens) or more"),
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
        }
        for name, (holds, rule) in checks.items():
            if not holds:
                raise ValueError(f"{name}: {getattr(self, name)} is not {rule}.")


@dataclass(frozen=True)
class Completion:
    """Tokens with the one that ends the sequence, if it came; `truncated` if it did not."""

    ids: list[int]
    truncated: bool


class Sampler(Protocol):
    """What completes prompts."""

    def sample(self, prompts: list[list[int]], seed: int) -> list[Completion]:
        """One completion for each prompt."""


class TransformersSampler:
    """
    Generates with Transformers, all prompts of a call at once.

    Args:
        source (`ModelSource`):
            The model. An adapter is merged into its base.
        tokenizer (`PreTrainedTokenizerBase`):
            Its tokenizer.
        settings (`SamplingSettings`):
            How to sample.
        dtype (`str`):
            Precision of the weights.
        local_rank (`int`, *optional*, defaults to `0`):
            Which accelerator of the machine to use, if there is any.
    """

    def __init__(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: SamplingSettings,
        dtype: str,
        local_rank: int = 0,
    ) -> None:
        has_accelerator = torch.accelerator.is_available()
        self.device = (
            torch.device(torch.accelerator.current_accelerator().type, local_rank) if has_accelerator else "cpu"
        )
        self.model = _load_model(source, dtype).eval().to(self.device)
        self.ends = source.end_tokens(tokenizer)
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        # the model's own defaults would fill every field that is left out
        drawing = {"do_sample": False}
        if settings.temperature > 0:
            drawing = asdict(settings) | {"do_sample": True}
        self.model.generation_config = GenerationConfig(
            **drawing | {"max_new_tokens": settings.max_new_tokens, "repetition_penalty": settings.repetition_penalty},
            eos_token_id=self.ends,
            pad_token_id=self.pad,
            disable_compile=True,
        )

    @torch.inference_mode()
    def sample(self, prompts: list[list[int]], seed: int) -> list[Completion]:
        """One completion for each prompt."""
        longest = max(map(len, prompts))
        padded = torch.tensor([[self.pad] * (longest - len(ids)) + ids for ids in prompts])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
        torch.manual_seed(seed)
        generated = self.model.generate(input_ids=padded.to(self.device), attention_mask=mask.to(self.device))
        return [self._cut(ids) for ids in generated[:, longest:].tolist()]

    def _cut(self, ids: list[int]) -> Completion:
        end = next((position for position, token in enumerate(ids) if token in self.ends), None)
        return Completion(ids if end is None else ids[: end + 1], truncated=end is None)


class VLLMSampler:
    """
    Generates with vLLM, on one GPU. Arguments as in [`TransformersSampler`], and `longest`, the number of tokens of
    the longest prompt with its completion, and `memory`, the share of the GPU's that vLLM takes.
    """

    def __init__(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: SamplingSettings,
        dtype: str,
        local_rank: int,
        longest: int,
        memory: float | None = None,
    ) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        if "," in visible:  # vLLM would take the first; for a second model it is chosen already
            os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[local_rank]
        from vllm import LLM, SamplingParams
        from vllm.lora.request import LoRARequest

        weights = source.base or source
        options: dict[str, Any] = {"model": weights.path, "revision": weights.revision, "dtype": dtype}
        if source.base is not None:
            options |= {"enable_lora": True, "max_lora_rank": _lora_rank(source)}
        if memory is not None:
            options["gpu_memory_utilization"] = memory
        try:
            # vLLM would otherwise take the model's own defaults for what is left out
            self.llm = LLM(**options, max_model_len=longest, generation_config="vllm", seed=0)
        except RuntimeError as error:  # the reason is in what a process of vLLM's own has printed
            raise ValueError(
                f"backend: vLLM did not start ({error}) The lines above say why. If it is memory, write a smaller "
                "--vllm_gpu_memory_utilization, or end what else is on the GPU."
            ) from error
        self.adapter = None if source.base is None else LoRARequest("adapter", 1, source.path)
        self.shared = asdict(settings) | {"min_p": settings.min_p or 0.0, "max_tokens": settings.max_new_tokens}
        del self.shared["max_new_tokens"]
        self.shared |= {"stop_token_ids": source.end_tokens(tokenizer), "detokenize": False}
        self.make_parameters = SamplingParams

    def sample(self, prompts: list[list[int]], seed: int) -> list[Completion]:
        """One completion for each prompt."""
        outputs = self.llm.generate(
            [{"prompt_token_ids": ids} for ids in prompts],
            [self.make_parameters(**self.shared, seed=seed + position) for position in range(len(prompts))],
            lora_request=self.adapter,
            use_tqdm=False,
        )
        answers = [output.outputs[0] for output in outputs]
        return [Completion(list(answer.token_ids), answer.finish_reason == "length") for answer in answers]


def pick_backend(wanted: str) -> str:
    """`"vllm"` or `"transformers"`; with `"auto"` vLLM where it is installed and there is a GPU."""
    installed = importlib.util.find_spec("vllm") is not None
    if wanted == "vllm" and not installed:
        raise ValueError(
            "backend: vLLM is not installed. Run `pip install 'trl-real[vllm]'`, or write --backend transformers."
        )
    if wanted != "auto":
        return wanted
    return "vllm" if installed and torch.cuda.is_available() else "transformers"


def default_dtype() -> str:
    """bfloat16 on an accelerator, float32 on a CPU."""
    return "bfloat16" if torch.accelerator.is_available() else "float32"


def _load_model(source: ModelSource, dtype: str) -> PreTrainedModel:
    if source.base is None:
        return AutoModelForCausalLM.from_pretrained(source.path, revision=source.revision, dtype=dtype)
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(source.base.path, revision=source.base.revision, dtype=dtype)
    return PeftModel.from_pretrained(base, source.path, revision=source.revision).merge_and_unload()


def _lora_rank(source: ModelSource) -> int:
    """The next rank that vLLM has room for."""
    from peft import PeftConfig

    return max(8, 2 ** (PeftConfig.from_pretrained(source.path, revision=source.revision).r - 1).bit_length())
