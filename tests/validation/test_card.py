"""The model card names what was trained, from what, and with which version of this package."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.support.trainers import config, save_tiny_model, trainer
from trl_real import __version__
from trl_real.validation.card import PAPER, complete_card


@pytest.mark.parametrize("named", [True, False])
def test_the_card_names_the_base_model_and_the_package(tmp_path: Path, named: bool) -> None:
    model = {"model": save_tiny_model(tmp_path / "base")} if named else {}
    made = trainer(tmp_path, args=config(tmp_path, save_strategy="steps", save_steps=2), **model)
    made.train()
    card = ModelCard.load(tmp_path / "run" / "README.md")
    base = f"`{tmp_path / 'base'}`" if named else "a model that was created in Python"
    assert f"a fine-tuned version of {base}." in card.text and "None" not in card.text.split("##")[1]
    assert f"- trl-real: {__version__}" in card.text and "2602.05630" in card.text
    assert PAPER["citation"] in card.text and "Zhai, Zepeng" in card.text
    assert {"trl", "real"} <= set(card.data.tags) and "grpo" not in card.data.tags
    assert "REAL" in card.text and "GRPO" not in card.text


def test_a_hub_id_stays_a_link_and_a_card_of_another_form_gets_the_version_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    text = "A version of [some/model](https://huggingface.co/some/model)."
    path.write_text(f"---\nbase_model: some/model\n---\n\n{text}\n")
    complete_card(path, "some/model")
    card = ModelCard.load(path)
    assert "[some/model](https://huggingface.co/some/model)" in card.text and card.data.base_model == "some/model"
    assert card.text.rstrip().splitlines()[-1].startswith(f"- trl-real: {__version__}")
