"""Vision-language models train with images as they do with GRPOTrainer, and under every batch cut alike."""

import copy
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin

from tests.support.processes import together
from tests.support.tool_model import QUESTION, teach, tool_tokenizer
from tests.support.trainers import config, logged, moved, trainer, weights
from tests.support.vision_cuts import MODELS, decide_on_one_process, main, picture, questions, train
from tests.support.vision_models import VISION_WORDS, tiny_qwen_vl
from trl_real import REALTrainer


COUNTS = {"several": [1, 2, 3, 1, 2, 1, 3, 2], "some without": [1, 0, 2, 0, 1, 1, 0, 2]}


# TRL's own generation fails on a batch in which only some prompts have images; rollout functions (below) may mix them
@pytest.mark.parametrize("kind", MODELS)
def test_a_vision_language_model_trains_on_images(tmp_path: Path, kind: str) -> None:
    model, processor = MODELS[kind]()
    run = trainer(tmp_path, model=model, processing_class=processor, train_dataset=questions(COUNTS["several"]))
    before = weights(model)
    run.train()
    after = weights(model)
    vision = {name for name in before if "vision" in name or "visual" in name}
    assert 0 < logged(run, "reward")[0] < 1
    assert vision and any(not torch.equal(before[name], after[name]) for name in vision)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("kind", MODELS)
def test_batch_cuts_with_images_agree(tmp_path: Path, kind: str, counts: str) -> None:
    whole = train(tmp_path, kind, COUNTS[counts], batch=8)
    assert moved(whole, weights(MODELS[kind]()[0]))
    for batch in (4, 1):
        cut = train(tmp_path, kind, COUNTS[counts], batch=batch)
        for name in whole:
            torch.testing.assert_close(cut[name], whole[name], rtol=0, atol=1e-4, msg=f"batch {batch}: {name}")


def test_rollouts_without_images_are_packed_until_some_have_them(tmp_path: Path) -> None:
    """Two generations of four prompts: the first has no image."""
    counts = [0, 0, 0, 0, 1, 0, 2, 1]
    train_all = partial(train, tmp_path, "qwen", counts, batch=4, degenerate_groups="keep")
    mixed, padded = train_all(pack_rollouts=True), train_all(pack_rollouts=False)
    assert moved(mixed, weights(tiny_qwen_vl()[0]))
    for name, value in padded.items():
        torch.testing.assert_close(mixed[name], value, rtol=0, atol=1e-4, msg=name)


def test_two_processes_with_images_agree_with_one(tmp_path: Path) -> None:
    # Two prompts per process and generation. Each process has an image: TRL's own logging hangs where one has none
    # SGD, since in a step without images one process leaves the vision weights without a gradient, and two with zeros:
    # Adam's momentum tells them apart
    cut = dict(kind="qwen", counts=COUNTS["some without"], optim="sgd", learning_rate=0.1)
    whole = train(tmp_path, batch=8, **cut)
    together(main, tmp_path / "out.pt", cut | dict(batch=2), said=tmp_path / "said.txt")
    assert moved(whole, weights(tiny_qwen_vl()[0]))
    for name, value in torch.load(tmp_path / "out.pt").items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-4, msg=name)


def test_every_process_pads_where_one_has_images_at_the_start(tmp_path: Path) -> None:
    together(decide_on_one_process, tmp_path / "decided", said=tmp_path / "said.txt")
    decided = [(tmp_path / "decided" / rank).read_text("utf-8") for rank in "01"]
    assert decided == ["False: rollouts with token types or images cannot be packed"] * 2


def draw(a: int, b: int) -> list[dict[str, Any]]:
    """
    Draw a rectangle.

    Args:
        a: Its width.
        b: Its height.

    Returns:
        The picture.
    """
    return [{"type": "image", "image": picture(a + b)}, {"type": "text", "text": "12"}]


draw.__name__ = "multiply"  # the tool that the tiny model was taught to call


@cache
def taught() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = tool_tokenizer("qwen3_vl", VISION_WORDS)
    model, processor = tiny_qwen_vl(tokenizer)
    return teach(model, tokenizer, [draw]), processor


def drawing_trainer(tmp_path: Path, **options: Any) -> REALTrainer:
    """A trainer whose model has been taught to call `draw`."""
    model, processor = copy.deepcopy(taught())

    def four_high(completions, **kwargs):
        return [float("'b': 4" in str(completion[0].get("tool_calls"))) for completion in completions]

    data = Dataset.from_list([{"prompt": QUESTION}] * 4)
    return trainer(
        tmp_path,
        model=model,
        processing_class=processor,
        reward_funcs=four_high,
        train_dataset=data,
        eval_dataset=data,
        tools=[draw],
        args=config(tmp_path, learning_rate=1e-3, **options),
    )


def test_images_that_a_tool_returns_are_trained_on(tmp_path: Path) -> None:
    run = drawing_trainer(tmp_path, max_completion_length=120)
    before = weights(run.model)
    run.train()
    after = weights(run.model)
    assert logged(run, "tools/call_frequency")[0] > 0.5 and logged(run, "tools/failure_frequency")[0] < 0.5
    assert 0 < logged(run, "reward")[0] < 1
    assert any(not torch.equal(before[name], after[name]) for name in before if "visual" in name)


def test_a_truncated_completion_with_an_image_of_a_tool_is_evaluated(tmp_path: Path) -> None:
    metrics = drawing_trainer(tmp_path, max_completion_length=60, mask_truncated_completions=True).evaluate()
    assert metrics["eval_tools/call_frequency"] > 0.5 and metrics["eval_completions/clipped_ratio"] > 0.5
