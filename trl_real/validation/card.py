"""The model card that TRL writes, completed: it also names a base model in a folder, and this package."""

from pathlib import Path

from huggingface_hub import ModelCard

from ..version import __version__


# As TRL's template reads it
PAPER = {
    "title": "Rewards as Labels: Revisiting RLVR from a Classification Perspective",
    "id": "2602.05630",
    "citation": """\
@article{zhai2026rewards,
  title   = {Rewards as Labels: Revisiting {RLVR} from a Classification Perspective},
  author  = {Zhai, Zepeng and Chen, Meilin and Zhao, Jiaxuan and Qian, Junlang and Shen, Lei and Lu, Yuan},
  journal = {arXiv preprint arXiv:2602.05630v4},
  year    = {2026}
}""",
}


def complete_card(path: Path, base_model: str) -> None:
    """Completes a card that TRL has just written; `base_model` is empty if the model was created in Python."""
    card = ModelCard.load(path)
    named = f"`{base_model}`" if base_model else "a model that was created in Python"
    text = card.text.replace("[None](https://huggingface.co/None)", named).replace('"None"', f'"{path.parent}"')
    versions = "### Framework versions\n\n"
    package = f"- trl-real: {__version__} (REAL, [Rewards as Labels](https://arxiv.org/abs/{PAPER['id']}))\n"
    card.text = text.replace(versions, versions + package, 1) if versions in text else f"{text}\n{package}"
    card.save(path)
