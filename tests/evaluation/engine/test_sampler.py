"""Transformers as a sampler: seeds, probabilities, ends, padding, and nothing of the model's own sampling."""

import pytest
import torch

from tests.support.trainers import save_tiny_model, tiny_llama
from trl_real.evaluation.engine.models import find_model
from trl_real.evaluation.engine.sampler import Completion, TransformersSampler
from trl_real.evaluation.engine.settings import SamplingSettings, pick_backend, sample_seed


PROMPTS = [[5, 9, 12], [7], [20, 21, 22, 23, 24], [7]]
SEEDS = [1, 2, 3, 4]


def settings(temperature: float = 1.0, tokens: int = 6, **options: float) -> SamplingSettings:
    others = dict(top_p=1.0, top_k=0, min_p=None, repetition_penalty=1.0, max_new_tokens=tokens) | options
    return SamplingSettings(temperature, **others)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> TransformersSampler:
    """A model whose own defaults would draw nothing but the likeliest token."""
    model = tiny_llama()
    model.generation_config.update(do_sample=True, top_k=1, temperature=0.1)
    source = find_model(save_tiny_model(tmp_path_factory.mktemp("model"), model))
    return TransformersSampler(source, source.load_tokenizer(), "float32")


def test_the_seed_decides_a_sample_whatever_is_beside_it(sampler: TransformersSampler) -> None:
    first = sampler.sample(PROMPTS, settings(), SEEDS)
    torch.rand(1)
    assert sampler.sample(PROMPTS[::-1], settings(), SEEDS[::-1]) == first[::-1]
    alone = [sampler.sample([prompt], settings(), [seed])[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    assert alone == first
    assert sampler.sample(PROMPTS, settings(), [5, 6, 7, 8]) != first
    assert first[1] != first[3]  # the same prompt twice is sampled twice


def test_tokens_are_drawn_with_the_probabilities_of_the_model(sampler: TransformersSampler) -> None:
    number, how = 4000, settings(temperature=0.7, tokens=1, top_k=12, top_p=0.9)
    drawn = [answer.ids[0] for answer in sampler.sample([[7]] * number, how, range(number))]
    with torch.no_grad():
        logits = sampler.model(torch.tensor([[7]])).logits[0, -1] / 0.7
    kept, index = logits.softmax(-1).sort(descending=True)
    kept[12:] = 0
    kept = kept / kept.sum()
    kept[1:][kept.cumsum(0)[:-1] >= 0.9] = 0
    wanted = torch.zeros_like(kept).scatter(0, index, kept / kept.sum())
    found = torch.bincount(torch.tensor(drawn), minlength=len(wanted)) / number
    assert set(drawn) == set(wanted.nonzero().flatten().tolist())
    assert ((found - wanted).abs() <= 5 * (wanted * (1 - wanted) / number).sqrt()).all()


def test_the_models_own_sampling_settings_have_no_say(sampler: TransformersSampler) -> None:
    def firsts(how: SamplingSettings) -> set[int]:
        return {completion.ids[0] for completion in sampler.sample([[7]] * 300, how, range(300))}

    assert len(firsts(settings())) > 30
    assert len(firsts(settings(top_k=2))) == 2
    assert len(firsts(settings(min_p=0.99))) == 1


def test_temperature_zero_takes_the_likeliest_token_whatever_is_beside_it_in_the_batch(
    sampler: TransformersSampler,
) -> None:
    together = sampler.sample(PROMPTS, settings(0), SEEDS)
    assert together == [sampler.sample([prompt], settings(0), [9])[0] for prompt in PROMPTS]
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        for token in together[0].ids:
            assert sampler.model(ids).logits[0, -1].argmax() == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_an_answer_ends_with_its_first_end_token_or_is_truncated(sampler: TransformersSampler) -> None:
    answers = sampler.sample([[7]] * 100, settings(tokens=30), range(100))
    ended = [answer for answer in answers if not answer.truncated]
    assert 0 < len(ended) < 100
    assert all(answer.ids[-1] == 1 and 1 not in answer.ids[:-1] for answer in ended)
    assert all(len(answer.ids) == 30 and 1 not in answer.ids for answer in answers if answer.truncated)
    assert isinstance(ended[0], Completion)


def test_every_sample_has_a_seed_of_its_own() -> None:
    places = [
        (seed, name, problem, number) for seed in (0, 1) for name in "ab" for problem in (0, 1) for number in (0, 1)
    ]
    seeds = [sample_seed(*place) for place in places]
    assert len(set(seeds)) == len(places) and seeds == [sample_seed(*place) for place in places]
    assert all(0 <= seed < 2**31 for seed in seeds)


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
    possible = dict(temperature=1.0, top_p=1.0, top_k=0, min_p=None, repetition_penalty=1.0, max_new_tokens=4)
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**possible | options)


def test_a_backend_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_backend("transformers") == "transformers"
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    assert pick_backend("auto") == "transformers"
    with pytest.raises(ValueError, match="backend: vLLM is not installed.*--backend transformers"):
        pick_backend("vllm")
