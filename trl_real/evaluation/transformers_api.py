"""
Transformers as a model of Inspect: `trl-real/<folder or hub id>`, beside Inspect's own. On one GPU; several need vLLM.

Inspect's `hf/` does not report an answer's length or whether it was truncated, and fills omitted settings with the
model's own defaults.

    inspect eval trl_real/math --model trl-real/runs/real_1p5b --max-connections 64 -T problems=math500
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
import torch
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig

from .models import ModelSource, encode_prompts, find_model


BATCH_SIZE = 32
GATHERING = 0.2  # seconds in which the requests for a first batch arrive


@dataclass(eq=False)
class Request:
    """A prompt and how to sample, and the answer once a batch has made it."""

    ids: list[int]
    config: GenerateConfig
    answer: list[int] = field(default_factory=list)


@modelapi(name="trl-real")
class TransformersAPI(ModelAPI):
    """A model, an adapter or a checkpoint. Half of the connections wait in the running batch, half in the next one."""

    def __init__(self, model_name: str, **others: Any) -> None:
        super().__init__(model_name, **others)
        self.source = find_model(model_name)
        self.tokenizer = self.source.load_tokenizer()
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.ends = self.source.end_tokens(self.tokenizer)
        self.model: Any = None
        self._waiting: list[Request] = []
        self._lock = anyio.Lock()

    async def generate(
        self, input: list[ChatMessage], tools: Sequence[Any], tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        """One answer to messages, or to the tokens in the metadata of the only message."""
        given = (input[0].metadata or {}).get("prompt_token_ids") if len(input) == 1 else None
        chat = [{"role": message.role, "content": message.text} for message in input]
        ids = given or encode_prompts(self.tokenizer, [chat], self.model_name, {})[0]
        request = Request(ids, config.model_copy(update={"seed": None}))  # a batch cannot have several
        self._waiting.append(request)
        async with self._lock:
            if not request.answer:  # then it is the first in the queue
                await self._answer_batch(request.config)
        return self._output(request)

    async def _answer_batch(self, config: GenerateConfig) -> None:
        size = max(1, (config.max_connections or self.max_connections()) // 2)
        if len(self._waiting) < size:
            await anyio.sleep(GATHERING)
        batch = [request for request in self._waiting if request.config == config][:size]
        try:
            answers = await anyio.to_thread.run_sync(self.sample, [request.ids for request in batch], config)
        except torch.OutOfMemoryError as error:
            raise ValueError(f"batch_size: no memory for {len(batch)} samples at once; write less.") from error
        for request, answer in zip(batch, answers, strict=True):
            self._waiting.remove(request)
            request.answer = answer

    @torch.inference_mode()
    def sample(self, prompts: list[list[int]], config: GenerateConfig) -> list[list[int]]:
        """One answer to each prompt, as tokens with the one that ends it, unless it was truncated."""
        if self.model is None:
            self.model = load_weights(self.source)
            torch.seed()  # processes start with the same seed; a resumed one would repeat samples
        extras, drawn = config.extra_body or {}, config.temperature != 0
        how = {"temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k or 0} | extras
        padded = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        # the model's own defaults would fill omitted settings
        self.model.generation_config = GenerationConfig(
            **(how if drawn else {"repetition_penalty": extras.get("repetition_penalty", 1.0)}),
            do_sample=drawn,
            max_new_tokens=config.max_tokens or 2048,
            eos_token_id=self.ends,
            pad_token_id=self.tokenizer.pad_token_id,
            disable_compile=True,
        )
        rows = self.model.generate(**padded.to(self.model.device))[:, padded["input_ids"].shape[1] :].tolist()
        ends = [next((number for number, token in enumerate(row, 1) if token in self.ends), None) for row in rows]
        return [row[:end] for row, end in zip(rows, ends, strict=True)]

    def _output(self, request: Request) -> ModelOutput:
        text = str(self.tokenizer.decode(request.answer, skip_special_tokens=True))
        stop = "stop" if request.answer[-1] in self.ends else "max_tokens"
        output = ModelOutput.from_content(self.model_name, text, stop_reason=stop)
        read, written = len(request.ids), len(request.answer)
        output.usage = ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return output

    def max_connections(self) -> int:
        return 2 * BATCH_SIZE

    def close(self) -> None:
        self.model = None
        torch.cuda.empty_cache()


def load_weights(source: ModelSource) -> Any:
    """On an accelerator in bfloat16, on a CPU in float32; an adapter is merged into its base."""
    try:
        if source.base is not None:
            adapted = PeftModel.from_pretrained(load_weights(source.base), source.path, revision=source.revision)
            return adapted.merge_and_unload()
        how = {"dtype": default_dtype(), "revision": source.revision, "device_map": "auto"}
        return AutoModelForCausalLM.from_pretrained(source.path, **how)
    except OSError as error:
        raise ValueError(f"models: cannot load {source.name}: {str(error).splitlines()[0]}") from error


def default_dtype() -> str:
    """The precision of the weights."""
    return "bfloat16" if torch.accelerator.is_available() else "float32"
