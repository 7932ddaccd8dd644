"""What is found before a weight is read, in a script as in a recipe; the model here has none to read."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.support.tiny import prompts_dataset, tiny_tokenizer
from tests.support.trainers import config, even_start, tiny_llama, trainer
from trl_real.validation.arguments import check_prompts_suffice


@pytest.fixture(scope="module")
def weightless(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama().config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def second(completions: list, **kwargs: Any) -> list[float]:
    return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            {"reward_funcs": [even_start, second]},
            {},
            r"2 reward functions \('even_start', 'second'\).*label_reward_func",
        ),
        ({"reward_funcs": ["some/judge", second]}, {}, r"reward functions \('judge', 'second'\)"),
        ({}, {"label_reward_func": "even"}, r"`label_reward_func` must name one .*\('even_start'\), got 'even'"),
        ({}, {"report_to": ["wanb"]}, "report_to: there is no tracker wanb. Did you mean `wandb`"),
        (
            {"train_dataset": prompts_dataset(3)},
            {},
            r"train_dataset: it has 3 prompts.* takes 4 .*steps_per_generation=2",
        ),
        ({"train_dataset": Dataset.from_list([])}, {}, "train_dataset: it has 0 prompts.* Give it at least 1"),
    ],
)
def test_errors_come_early(weightless: str, tmp_path: Path, arguments: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, model=weightless, args=config(tmp_path, **options), **arguments)


@pytest.mark.parametrize("prompts", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("cut", [(4, 2, 4), (4, 4, 8), (8, 1, 1), (2, 2, 8), (3, 4, 4), (32, 2, 8)], ids=str)
def test_what_the_error_says_to_write_is_enough(tmp_path: Path, prompts: int, cut: tuple[int, int, int]) -> None:
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
    options = dict(zip(names, cut, strict=True))
    try:
        check_prompts_suffice(config(tmp_path, **options), prompts)
    except ValueError as error:
        advice = str(error).partition("Write ")[2].replace(",", "").split()
        written = {name: int(value) for name, _, value in (word.partition("=") for word in advice) if value}
        check_prompts_suffice(config(tmp_path, **options | written), prompts)
    else:
        assert cut[0] * cut[2] <= 4 * prompts
