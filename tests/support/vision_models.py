"""Tiny vision-language models with their processors, built without a download."""

from importlib.resources import files
from typing import Any

import torch
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.support.tiny import tiny_tokenizer


VISION_WORDS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SIZE = dict(hidden_size=16, intermediate_size=32, num_attention_heads=2)


class ImageOnlyProcessor(Qwen2_5_VLProcessor):
    """Qwen's processor without its video half, which would need torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def _tokenizer(special: list[str], chat_template: str) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.chat_template = chat_template
    return tokenizer


def _text_config(tokenizer: PreTrainedTokenizerFast, **options: Any) -> dict[str, Any]:
    tokens = dict(vocab_size=len(tokenizer), bos_token_id=None)
    tokens |= dict(pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    return SIZE | tokens | dict(num_hidden_layers=2, num_key_value_heads=1, initializer_range=0.3) | options


def tiny_qwen_vl(tokenizer: PreTrainedTokenizerFast | None = None) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Images become a grid of patches, one row of `pixel_values` each: as many as the image is large."""
    if tokenizer is None:
        template = files("trl").joinpath("chat_templates/qwen2_5_vl.jinja").read_text()
        tokenizer = _tokenizer([*VISION_WORDS, "<|im_start|>", "<|im_end|>"], template)
    images = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, size=dict(shortest_edge=64, longest_edge=1024))
    start, end, image, video = tokenizer.convert_tokens_to_ids(VISION_WORDS)
    rope = dict(rope_type="default", mrope_section=[2, 1, 1], rope_theta=1e4)
    vision = SIZE | dict(depth=2, num_heads=2, patch_size=4, out_hidden_size=16, fullatt_block_indexes=[1])
    config = Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer, rope_parameters=rope),
        vision_config=vision | dict(window_size=16, spatial_merge_size=2),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).float()
    return model, ImageOnlyProcessor(images, tokenizer, chat_template=tokenizer.chat_template)


def tiny_llava() -> tuple[PreTrainedModel, ProcessorMixin]:
    """Every image is resized to one entry of `pixel_values`."""
    template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{{ '<image> ' if part['type'] == 'image' else part['text'] + ' ' }}{% endfor %}{% endfor %}w1"
    )
    tokenizer = _tokenizer(["<image>"], template)
    images = CLIPImageProcessorPil(size=dict(shortest_edge=16), crop_size=dict(height=16, width=16))
    vision = SIZE | dict(model_type="clip_vision_model", num_hidden_layers=2, image_size=16, patch_size=8)
    config = LlavaConfig(
        text_config=_text_config(tokenizer) | dict(model_type="qwen2"),
        vision_config=vision | dict(projection_dim=16),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    torch.manual_seed(0)
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    return LlavaForConditionalGeneration(config).float(), processor
