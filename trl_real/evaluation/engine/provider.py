"""
Transformers as an engine of Inspect: `trl-real/<hub id or folder>`, beside Inspect's own engines.

In: requests of Inspect, one by one. Out: completions that were made in batches, on every accelerator of this machine a
copy of the model. Inspect's `hf/` pads and counts otherwise: it reports neither which answers were cut off nor how
long each is, and knows no `min_p`, no `repetition_penalty`, no adapters. Left out: the sampling itself (`sampler.py`).

    inspect eval trl_real/math --model trl-real/runs/real_1p5b -M batch_size=64 -T problems=math500
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)

from .models import encode_prompts, find_model
from .sampler import Completion, TransformersSampler
from .settings import SamplingSettings, default_dtype


BATCH_SIZE = 32
QUIET = 0.2  # seconds without a new request after which a batch that is not full is made


@dataclass(frozen=True)
class Request:
    """One prompt, how to answer it, and where the answer goes."""

    ids: list[int]
    settings: SamplingSettings
    seed: int
    answer: Future = field(default_factory=Future)


class TransformersAPI(ModelAPI):
    """
    A model that Transformers runs.

    Args:
        model_name (`str`):
            Hub id, `name@revision`, or folder: a model, an adapter, a checkpoint.
        config (`GenerateConfig`, *optional*):
            Inspect's; sampling is the model's own business there, here it is what Inspect asks for.
        dtype (`str`, *optional*):
            Precision of the weights. Default: bfloat16, float32 on a CPU.
        batch_size (`int`, *optional*, defaults to `32`):
            Completions that are made at once.
        replicas (`int`, *optional*):
            Copies of the model. Default: one for each accelerator, or one.
        keep_ids (`bool`, *optional*, defaults to `False`):
            Whether the tokens of completions stay in the log, in the metadata of the output.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008, as in Inspect's interface
        dtype: str | None = None,
        batch_size: int = BATCH_SIZE,
        replicas: int | None = None,
        keep_ids: bool = False,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.source = find_model(model_name)
        self.tokenizer = self.source.load_tokenizer()
        self.dtype, self.batch_size, self.keep_ids = dtype or default_dtype(), batch_size, keep_ids
        self.devices = _devices(replicas)
        self._requests: queue.Queue[Request | None] = queue.Queue()
        self._threads: list[threading.Thread] = []

    def load(self) -> None:
        """Reads the weights, for every copy; `ValueError` if they cannot be read."""
        samplers = [TransformersSampler(self.source, self.tokenizer, self.dtype, device) for device in self.devices]
        self._threads = [threading.Thread(target=self._serve, args=[sampler], daemon=True) for sampler in samplers]
        for thread in self._threads:
            thread.start()

    async def generate(
        self, input: list[ChatMessage], tools: Sequence[Any], tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        """One completion of a prompt, which is messages or the tokens that its only message carries."""
        if not self._threads:
            self.load()
        request = Request(self._encode(input), _read_settings(config), config.seed or 0)
        self._requests.put(request)
        return self._output(request, await asyncio.wrap_future(request.answer))

    def _encode(self, messages: list[ChatMessage]) -> list[int]:
        given = (messages[0].metadata or {}).get("prompt_token_ids") if len(messages) == 1 else None
        if given is not None:
            return given
        chat = [{"role": message.role, "content": message.text} for message in messages]
        return encode_prompts(self.tokenizer, [chat], self.model_name, {})[0]

    def _output(self, request: Request, completion: Completion) -> ModelOutput:
        text = self.tokenizer.decode(completion.ids, skip_special_tokens=True)
        message = ChatMessageAssistant(content=text, model=self.model_name, source="generate")
        choice = ChatCompletionChoice(message=message, stop_reason="max_tokens" if completion.truncated else "stop")
        read, written = len(request.ids), len(completion.ids)
        usage = ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        ids = {"completion_ids": completion.ids} if self.keep_ids else None
        return ModelOutput(model=self.model_name, choices=[choice], usage=usage, metadata=ids)

    def _serve(self, sampler: TransformersSampler) -> None:
        """Makes batches until a `None` comes."""
        index = torch.device(sampler.device).index
        if index is not None:  # a thread begins on the first device, and there Triton would launch its kernels
            torch.accelerator.set_device_index(index)
        while batch := self._gather():
            try:
                asked = [[request.ids for request in batch], batch[0].settings, [request.seed for request in batch]]
                for request, completion in zip(batch, sampler.sample(*asked), strict=True):
                    request.answer.set_result(completion)
            except torch.OutOfMemoryError as error:
                _fail(batch, _no_memory(len(batch), error))
            except Exception as error:
                _fail(batch, error)

    def _gather(self) -> list[Request]:
        """The next requests, as many as go together; empty at the end."""
        batch: list[Request] = []
        while len(batch) < self.batch_size:
            try:
                request = self._requests.get(timeout=QUIET if batch else None)
            except queue.Empty:
                break
            if request is None or batch and request.settings != batch[0].settings:
                self._requests.put(request)  # for the next batch, or for the other devices
                break
            if request.answer.set_running_or_notify_cancel():
                batch.append(request)
        return batch

    def max_connections(self) -> int:
        """Requests at a time: for each copy one batch that is made, and one that waits."""
        return 2 * self.batch_size * len(self.devices)

    def connection_key(self) -> str:
        """Every model for itself."""
        return self.model_name

    def close(self) -> None:
        """Frees the memory; the next request reads the weights again."""
        if self._threads:
            self._requests.put(None)
            for thread in self._threads:
                thread.join()
            self._requests.get()
            self._threads = []
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _devices(replicas: int | None) -> list[str]:
    if not torch.accelerator.is_available():
        return ["cpu"] * (replicas or 1)
    kind, number = torch.accelerator.current_accelerator().type, torch.accelerator.device_count()
    return [f"{kind}:{index % number}" for index in range(replicas or number)]


def _read_settings(config: GenerateConfig) -> SamplingSettings:
    extras = config.extra_body or {}
    return SamplingSettings(
        temperature=1.0 if config.temperature is None else config.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        top_k=extras.get("top_k", config.top_k or 0),
        min_p=extras.get("min_p"),
        repetition_penalty=extras.get("repetition_penalty", 1.0),
        max_new_tokens=config.max_tokens or 2048,
    )


def _no_memory(number: int, error: Exception) -> ValueError:
    return ValueError(
        f"batch_size: there is no memory for {number} samples at once ({str(error).splitlines()[0]}). Start again "
        "with a smaller --batch_size."
    )


def _fail(batch: list[Request], error: Exception) -> None:
    for request in batch:
        request.answer.set_exception(error)
