"""Transformers as a sampler: seeds, ends, padding, and nothing of the model's own sampling."""

from pathlib import Path

import pytest
import torch

from tests.support.trainers import save_tiny_model, tiny_llama
from trl_real.evaluation.sampling.models import find_model
from trl_real.evaluation.sampling.samplers import Completion, SamplingSettings, TransformersSampler, pick_backend


PROMPTS = [[5, 9, 12], [7], [20, 21, 22, 23, 24], [7]]


def make_sampler(folder: Path, temperature: float = 1.0, tokens: int = 6, **options: float) -> TransformersSampler:
    """The folder's own defaults would draw nothing but the likeliest token."""
    model = tiny_llama()
    model.generation_config.update(do_sample=True, top_k=1, temperature=0.1)
    source = find_model(save_tiny_model(folder, model))
    settings = dict(top_p=1.0, top_k=0, min_p=None, repetition_penalty=1.0, max_new_tokens=tokens) | options
    return TransformersSampler(source, source.load_tokenizer(), SamplingSettings(temperature, **settings), "float32")


def test_the_seed_decides_the_samples(tmp_path: Path) -> None:
    sampler = make_sampler(tmp_path)
    first = sampler.sample(PROMPTS, seed=1)
    torch.rand(1)
    assert sampler.sample(PROMPTS, seed=1) == first
    assert sampler.sample(PROMPTS, seed=2) != first
    assert first[1] != first[3]  # the same prompt twice is sampled twice


def test_the_models_own_sampling_settings_have_no_say(tmp_path: Path) -> None:
    def firsts(sampler: TransformersSampler) -> set[int]:
        return {completion.ids[0] for completion in sampler.sample([[7]] * 300, seed=0)}

    assert len(firsts(make_sampler(tmp_path / "a"))) > 30
    assert len(firsts(make_sampler(tmp_path / "b", top_k=2))) == 2


def test_temperature_zero_takes_the_likeliest_token_whatever_is_beside_it_in_the_batch(tmp_path: Path) -> None:
    sampler = make_sampler(tmp_path, temperature=0.0)
    together = sampler.sample(PROMPTS, seed=1)
    assert together == [sampler.sample([prompt], seed=2)[0] for prompt in PROMPTS]
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        for token in together[0].ids:
            assert sampler.model(ids).logits[0, -1].argmax() == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_an_answer_ends_with_its_first_end_token_or_is_truncated(tmp_path: Path) -> None:
    sampler = make_sampler(tmp_path, tokens=30)
    answers = sampler.sample([[7]] * 100, seed=0)
    ended = [answer for answer in answers if not answer.truncated]
    assert 0 < len(ended) < 100
    assert all(answer.ids[-1] == 1 and 1 not in answer.ids[:-1] for answer in ended)
    assert all(len(answer.ids) == 30 and 1 not in answer.ids for answer in answers if answer.truncated)
    assert isinstance(ended[0], Completion)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature: -1.0 is not 0 or more"),
        ({"top_p": 0.0}, "top_p: 0.0 is not above 0"),
        ({"top_k": -1}, "top_k: -1 is not 0"),
        ({"max_new_tokens": 0}, "max_new_tokens: 0 is not 1 or more"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    settings = dict(temperature=1.0, top_p=1.0, top_k=0, min_p=None, repetition_penalty=1.0, max_new_tokens=4)
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**settings | options)


def test_a_backend_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_backend("transformers") == "transformers"
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    assert pick_backend("auto") == "transformers"
    with pytest.raises(ValueError, match="backend: vLLM is not installed.*--backend transformers"):
        pick_backend("vllm")
