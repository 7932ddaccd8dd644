"""
Fills stores with the samples that they lack, together with the other processes of the launch.

In: stores, and the models that answer. Out: nothing but full stores. Each process takes the next chunk that nobody
has, and writes it when it is done, so a kill costs at most the chunks under way. Left out: what a chunk is
(`trl_real.evaluation.sampling.store`), and how a model answers (`trl_real.evaluation.sampling.samplers`).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from .crew import Crew
from .models import ModelSource, find_model
from .samplers import Completion, Sampler, SamplingSettings, TransformersSampler, VLLMSampler
from .store import Chunk, SampleStore, SampleWriter


Progress = Callable[[str, int, int], None]  # model, samples that are done, samples to do
SAMPLING_FIELDS = tuple(SamplingSettings.__dataclass_fields__)


def sample_missing(
    stores: Sequence[SampleStore], chunk_size: int, crew: Crew, progress: Progress, vllm_memory: float | None = None
) -> None:
    """
    Samples until no store lacks anything; returns when this process finds nothing more to do.

    Args:
        stores (`list[SampleStore]`):
            Stores of any models and sets, the same in every process.
        chunk_size (`int`):
            How many samples are made at once.
        crew (`Crew`):
            The processes.
        progress (`Callable`):
            Called when a model is loaded and after each chunk.
        vllm_memory (`float`, *optional*):
            Share of the accelerator's memory that vLLM takes.
    """
    work: dict[str, list[tuple[SampleStore, Chunk]]] = {}
    for store in stores:
        chunks = work.setdefault(store.model, [])
        chunks += [(store, chunk) for chunk in store.missing(chunk_size)]
    crew.wait_for("planned")  # a chunk that is written from now on is still in everybody's list
    for model, chunks in work.items():
        if chunks:
            _sample_model(model, chunks, crew, progress, vllm_memory)


def _sample_model(
    model: str, work: list[tuple[SampleStore, Chunk]], crew: Crew, progress: Progress, vllm_memory: float | None
) -> None:
    total, respondent = sum(len(chunk.keys) for _, chunk in work), None
    writers: dict[str, SampleWriter] = {}
    with ExitStack() as closing:
        for index in crew.take(model, len(work)):
            store, chunk = work[index]
            if store.set not in writers:
                writer = SampleWriter(store, crew.rank)
                writers[store.set] = writer
                closing.callback(writer.close)
            if respondent is None:
                respondent = Respondent([store for store, _ in work], crew.local_rank, vllm_memory)
                progress(model, crew.count(f"samples/{model}", 0), total)
            writers[store.set].write(respondent.answer(store, chunk))
            progress(model, crew.count(f"samples/{model}", len(chunk.keys)), total)


class Respondent:
    """
    A model that answers chunks.

    Args:
        stores (`list[SampleStore]`):
            What it will be asked; all of the same model.
        local_rank (`int`):
            Which accelerator of the machine it takes.
        vllm_memory (`float`, *optional*):
            Share of its memory that vLLM takes.
    """

    def __init__(self, stores: Sequence[SampleStore], local_rank: int, vllm_memory: float | None = None) -> None:
        source = find_model(stores[0].model)
        self.tokenizer = source.load_tokenizer()
        self.sampler = _make_sampler(source, self.tokenizer, stores, local_rank, vllm_memory)
        self._prompts = {
            (store.folder, row["problem"]): row["prompt_ids"] for store in stores for row in store.problems
        }

    def answer(self, store: SampleStore, chunk: Chunk) -> list[dict[str, Any]]:
        """The samples of a chunk."""
        prompts = [self._prompts[store.folder, problem] for problem, _ in chunk.keys]
        try:
            completions = self.sampler.sample(prompts, chunk.seed)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"batch_size: there is no memory for {len(prompts)} samples at once. All that is done is kept; start "
                "again with a smaller --batch_size."
            ) from error
        keeps_ids = "reward_funcs" in store.settings["judge"]  # reward functions may read them
        return [self._row(key, completion, keeps_ids) for key, completion in zip(chunk.keys, completions, strict=True)]

    def _row(self, key: tuple[int, int], completion: Completion, keeps_ids: bool) -> dict[str, Any]:
        row = {
            "problem": key[0],
            "sample": key[1],
            "text": self.tokenizer.decode(completion.ids, skip_special_tokens=True),
            "tokens": len(completion.ids),
            "truncated": completion.truncated,
        }
        return row | ({"ids": completion.ids} if keeps_ids else {})


def _make_sampler(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    stores: Sequence[SampleStore],
    local_rank: int,
    vllm_memory: float | None,
) -> Sampler:
    how = stores[0].settings["sampling"]
    settings = SamplingSettings(**{name: how[name] for name in SAMPLING_FIELDS})
    try:
        if how["backend"] == "transformers":
            return TransformersSampler(source, tokenizer, settings, how["dtype"], local_rank)
        prompts = max(len(row["prompt_ids"]) for store in stores for row in store.problems)
        longest = prompts + settings.max_new_tokens
        return VLLMSampler(source, tokenizer, settings, how["dtype"], local_rank, longest, vllm_memory)
    except OSError as error:
        raise ValueError(f"models: cannot load {source.name}: {str(error).splitlines()[0]}") from error
