"""Transformers as an engine of Inspect: batches, copies, errors, and the task `math` by Inspect's own means."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai import eval as run_eval
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, ModelOutput, get_model

from tests.support.math_run import write_math_run
from trl_real.evaluation.engine import registry
from trl_real.evaluation.engine.models import find_model
from trl_real.evaluation.engine.provider import TransformersAPI
from trl_real.evaluation.engine.sampler import TransformersSampler
from trl_real.evaluation.engine.settings import SamplingSettings
from trl_real.evaluation.engine.tasks import Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("provider")
    write_math_run(folder)
    return folder


def prompt(*ids: int) -> list[ChatMessageUser]:
    return [ChatMessageUser(content="shown", metadata={"prompt_token_ids": list(ids)})]


def ask(model: Model, prompts: list[list[ChatMessageUser]], *configs: GenerateConfig) -> list[ModelOutput]:
    """All at once; the configurations in turn."""

    async def together() -> list[ModelOutput]:
        configured = [(each, configs[number % len(configs)]) for number, each in enumerate(prompts)]
        return await asyncio.gather(*(model.generate(each, config=config) for each, config in configured))

    return asyncio.run(together())


def make_model(folder: Path, **options: Any) -> Model:
    return get_model(f"trl-real/{folder / 'model'}", memoize=False, dtype="float32", **options)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that are made."""
    sizes, sample = [], TransformersSampler.sample

    def spy(self: TransformersSampler, prompts: list, *others: Any) -> list:
        sizes.append(len(prompts))
        return sample(self, prompts, *others)

    monkeypatch.setattr(TransformersSampler, "sample", spy)
    return sizes


def test_requests_are_answered_in_batches_each_by_its_own_seed(folder: Path, batches: list[int]) -> None:
    configs = [GenerateConfig(seed=seed, max_tokens=8, max_connections=100) for seed in range(14)]
    prompts = [prompt(3, 4), prompt(5)] * 7
    with make_model(folder, batch_size=4, keep_ids=True) as model:
        outputs = ask(model, prompts, *configs)
        again = ask(model, prompts[:1], configs[0])
    assert batches == [4, 4, 4, 2, 1]
    source = find_model(str(folder / "model"))
    sampler = TransformersSampler(source, source.load_tokenizer(), "float32")
    settings = SamplingSettings(1.0, 1.0, 0, None, 1.0, 8)
    wanted = [sampler.sample([[3, 4] if seed % 2 == 0 else [5]], settings, [seed])[0] for seed in range(14)]
    assert [output.metadata["completion_ids"] for output in outputs] == [each.ids for each in wanted]
    assert [output.stop_reason == "max_tokens" for output in outputs] == [each.truncated for each in wanted]
    assert [output.usage.output_tokens for output in outputs] == [len(each.ids) for each in wanted]
    assert {output.usage.input_tokens for output in outputs} == {1, 2}
    assert again[0].completion == outputs[0].completion


def test_requests_of_another_kind_are_not_put_into_the_same_batch(folder: Path, batches: list[int]) -> None:
    greedy, drawn = GenerateConfig(temperature=0, max_tokens=4), GenerateConfig(temperature=1, max_tokens=4, seed=3)
    with make_model(folder, batch_size=8) as model:
        outputs = ask(model, [prompt(5)] * 6, greedy, drawn)
    assert sum(batches) == 6 and len(batches) > 1
    assert (
        len({output.completion for output in outputs[::2]})
        == len({output.completion for output in outputs[1::2]})
        == 1
    )


def test_copies_of_the_model_share_the_requests_and_end_when_it_is_closed(folder: Path, batches: list[int]) -> None:
    config = GenerateConfig(max_tokens=8, seed=1, max_connections=100)
    with make_model(folder, batch_size=2, replicas=2) as model:
        assert model.api.max_connections() == 8
        outputs = ask(model, [prompt(5)] * 9, config)
        threads = model.api._threads
        assert len(threads) == 2
    assert sum(batches) == 9 and max(batches) == 2
    assert len({output.completion for output in outputs}) == 1
    assert not any(thread.is_alive() for thread in threads)


def test_the_thread_of_a_copy_is_on_the_device_of_the_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: dict[threading.Thread, int] = {}

    def choose(index: int) -> None:
        chosen[threading.current_thread()] = index

    monkeypatch.setattr(torch.accelerator, "set_device_index", choose)
    config = GenerateConfig(max_tokens=2)
    with make_model(folder) as model:  # a CPU has no number
        ask(model, [prompt(5)], config)
    assert not chosen
    with make_model(folder) as model:
        model.api.devices = ["cpu:0", "cpu:0"]
        ask(model, [prompt(5)], config)
        threads = model.api._threads
    assert chosen == dict.fromkeys(threads, 0) and len(threads) == 2


def test_every_setting_of_sampling_reaches_the_engine_and_the_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SamplingSettings(0.7, 0.8, 5, 0.05, 1.1, 4)
    config = Sampling(settings, seed=0, end_tokens=[1, 3]).config()
    sent = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1, "stop_token_ids": [1, 3]}
    assert (config.temperature, config.top_p, config.max_tokens, config.extra_body) == (0.7, 0.8, 4, sent)
    assert Sampling(SamplingSettings(1.0, 1.0, 0, None, 1.0, 4), 0).config().extra_body is None
    seen, sample = [], TransformersSampler.sample

    def spy(self: TransformersSampler, prompts: list, *others: Any) -> list:
        seen.append(others)
        return sample(self, prompts, *others)

    monkeypatch.setattr(TransformersSampler, "sample", spy)
    with make_model(folder) as model:
        ask(model, [prompt(5)], config.merge(GenerateConfig(seed=9)))
    assert seen == [(settings, [9])]


def test_messages_are_written_by_the_models_template(folder: Path) -> None:
    config = GenerateConfig(temperature=0, max_tokens=4)
    ids = find_model(str(folder / "model")).load_tokenizer()("one two three ")["input_ids"]
    with make_model(folder) as model:
        [said], [given] = (
            ask(model, [[ChatMessageUser(content="one two three")]], config),
            ask(model, [prompt(*ids)], config),
        )
    assert said.usage == given.usage and said.completion == given.completion


def test_what_goes_wrong_in_a_batch_is_said_by_each_of_its_requests(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: TransformersSampler, prompts: list, *others: Any) -> list:
        raise RuntimeError("broken")

    monkeypatch.setattr(TransformersSampler, "sample", fail)
    with make_model(folder) as model, pytest.raises(RuntimeError, match="broken"):
        ask(model, [prompt(5)] * 3, GenerateConfig(max_tokens=4))


def test_weights_that_are_not_there_are_an_error_before_a_request(folder: Path, tmp_path: Path) -> None:
    source = find_model(str(folder / "model"))
    source.load_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "model" / "config.json").read_bytes())
    api = TransformersAPI(str(tmp_path))
    with pytest.raises(ValueError, match=f"models: cannot load {tmp_path}: "):
        api.load()


def test_inspect_runs_the_task_by_itself(folder: Path, tmp_path: Path) -> None:
    task = registry.math(problems=str(folder / "eval.parquet"), samples=2, limit=5, max_new_tokens=8)
    with make_model(folder, batch_size=10) as model:
        [log] = run_eval(task, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success" and len(log.samples) == 10
    assert {sample.input[0].role for sample in log.samples} == {"user"}
    right = [sample.scores["verdict"].value for sample in log.samples]
    assert log.results.scores[0].metrics["mean"].value == pytest.approx(sum(right) / 10)
    assert log.eval.task_args["problems"] == str(folder / "eval.parquet")
