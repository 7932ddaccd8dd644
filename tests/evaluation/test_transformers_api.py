"""Transformers as a model of Inspect: probabilities, ends, batches, errors, and the task `math` by Inspect itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai import eval as run_eval
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, ModelOutput, get_model

from tests.support.math_run import math_tokenizer, write_math_run
from tests.support.trainers import save_tiny_model, tiny_llama
from trl_real.evaluation.problems import ProblemSet
from trl_real.evaluation.tasks import make_task, math


PROMPTS = [[5, 9, 12], [7], [20, 21, 22, 23, 24], [7]]


def how(temperature: float = 1.0, tokens: int = 6, top_p: float = 1.0, **extras: float) -> GenerateConfig:
    return GenerateConfig(temperature=temperature, top_p=top_p, max_tokens=tokens, extra_body=extras or None)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose own defaults would draw nothing but the likeliest token."""
    model = tiny_llama()
    model.generation_config.update(do_sample=True, top_k=1, temperature=0.1)
    return get_model(f"trl-real/{save_tiny_model(tmp_path_factory.mktemp('model'), model)}", memoize=False).api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_math_run(tmp_path)
    return tmp_path


def make_model(folder: Path) -> Model:
    return get_model(f"trl-real/{folder / 'model'}", memoize=False)


def test_tokens_are_drawn_with_the_probabilities_of_the_model(api: Any) -> None:
    number = 4000
    drawn = [answer[0] for answer in api.sample([[7]] * number, how(0.7, tokens=1, top_p=0.9, top_k=12))]
    with torch.no_grad():
        logits = api.model(torch.tensor([[7]])).logits[0, -1] / 0.7
    kept, index = logits.softmax(-1).sort(descending=True)
    kept[12:] = 0
    kept = kept / kept.sum()
    kept[1:][kept.cumsum(0)[:-1] >= 0.9] = 0
    wanted = torch.zeros_like(kept).scatter(0, index, kept / kept.sum())
    found = torch.bincount(torch.tensor(drawn), minlength=len(wanted)) / number
    assert set(drawn) == set(wanted.nonzero().flatten().tolist())
    assert ((found - wanted).abs() <= 5 * (wanted * (1 - wanted) / number).sqrt()).all()


def test_the_models_own_sampling_settings_have_no_say(api: Any) -> None:
    def firsts(**options: float) -> int:
        return len({answer[0] for answer in api.sample([[7]] * 300, how(**options))})

    assert firsts() > 30
    assert firsts(top_k=2) == 2
    assert firsts(min_p=0.99) == 1


def test_greedy_answers_do_not_depend_on_what_is_beside_them(api: Any) -> None:
    together = api.sample(PROMPTS, how(0))
    assert together == [api.sample([prompt], how(0))[0] for prompt in PROMPTS]
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        for token in together[0]:
            assert api.model(ids).logits[0, -1].argmax() == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_an_answer_ends_with_its_first_end_token_or_is_truncated(api: Any) -> None:
    answers = api.sample([[7]] * 100, how(tokens=30))
    ended = [answer for answer in answers if answer[-1] == 1]
    assert 0 < len(ended) < 100
    assert all(1 not in answer[:-1] for answer in answers)
    assert all(len(answer) == 30 for answer in answers if answer[-1] != 1)


def test_a_process_does_not_repeat_the_samples_of_another(folder: Path) -> None:
    """All start with the same seed of PyTorch."""
    answers = []
    for _ in range(2):
        torch.manual_seed(0)
        answers.append(make_model(folder).api.sample([[3, 4]] * 16, how()))
    assert answers[0] != answers[1]


def ask(model: Model, prompts: list[list[int]], *configs: GenerateConfig) -> list[ModelOutput]:
    """All at once; the configurations in turn."""

    async def together() -> list[ModelOutput]:
        asked = [[ChatMessageUser(content="shown", metadata={"prompt_token_ids": prompt})] for prompt in prompts]
        configured = [(each, configs[number % len(configs)]) for number, each in enumerate(asked)]
        return await asyncio.gather(*(model.generate(each, config=config) for each, config in configured))

    return asyncio.run(together())


def test_requests_are_answered_in_batches_of_one_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = make_model(folder), []
    sample = model.api.sample

    def spy(prompts: list[list[int]], config: GenerateConfig) -> list[list[int]]:
        batches.append((len(prompts), config.temperature))
        return sample(prompts, config)

    monkeypatch.setattr(model.api, "sample", spy)
    few = {"max_connections": 8, "max_tokens": 4}
    configs = [GenerateConfig(temperature=0, seed=1, **few), GenerateConfig(temperature=0, seed=2, **few)]
    outputs = ask(model, [[3, 4], [5]] * 5, *configs)
    assert batches == [(4, 0), (4, 0), (2, 0)]
    alone = sample([[3, 4], [5]], configs[0])
    for prompt, wanted in zip(((3, 4), (5,)), alone, strict=True):
        for output in outputs[len(prompt) % 2 :: 2]:
            assert (output.usage.input_tokens, output.usage.output_tokens) == (len(prompt), len(wanted))
            assert (output.stop_reason == "stop") == (wanted[-1] == 1)
            assert output.completion == model.api.tokenizer.decode(wanted, skip_special_tokens=True)
    ask(model, [[5]] * 6, configs[0], GenerateConfig(temperature=1, **few))
    assert sorted(batches[3:]) == [(3, 0), (3, 1)]


def test_messages_are_written_by_the_models_template(folder: Path) -> None:
    model, config = make_model(folder), how(0, tokens=4)
    ids = math_tokenizer()("one two three ")["input_ids"]
    said = asyncio.run(model.generate([ChatMessageUser(content="one two three")], config=config))
    [given] = ask(model, [ids], config)
    assert said.usage == given.usage and said.completion == given.completion


def test_an_error_in_a_batch_is_raised_by_its_requests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(prompts: list, config: GenerateConfig) -> list:
        raise torch.OutOfMemoryError("too much")

    model = make_model(folder)
    monkeypatch.setattr(model.api, "sample", fail)
    with pytest.raises(ValueError, match="batch_size: no memory for 3 samples at once"):
        ask(model, [[5]] * 3, GenerateConfig(max_tokens=4))


def test_every_setting_of_sampling_is_passed_on_where_it_is_not_the_default() -> None:
    problems = ProblemSet("set", "Set", ["?"], [{"answer": "1"}])
    sampling = dict(samples=1, temperature=0.7, top_p=0.8, top_k=5, min_p=0.05, max_new_tokens=4)
    sampling |= dict(repetition_penalty=1.1)
    config = make_task(problems, {}, sampling, end_tokens=[1, 3]).config
    sent = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1, "stop_token_ids": [1, 3]}
    assert (config.temperature, config.top_p, config.max_tokens, config.extra_body) == (0.7, 0.8, 4, sent)
    defaults = sampling | dict(top_k=0, min_p=None, repetition_penalty=1.0)
    assert make_task(problems, {}, defaults).config.extra_body is None


def test_inspect_runs_the_task_by_itself(folder: Path, tmp_path: Path) -> None:
    task = math(problems=str(folder / "eval.parquet"))
    options = dict(limit=5, epochs=2, max_tokens=8, log_dir=str(tmp_path / "logs"), display="none")
    [log] = run_eval(task, model=make_model(folder), **options)
    assert log.status == "success" and len(log.samples) == 10
    assert {sample.input[0].role for sample in log.samples} == {"user"}
    right = [sample.scores["verdict"].value for sample in log.samples]
    assert log.results.scores[0].metrics["mean"].value == pytest.approx(sum(right) / 10)
