"""The LLaVA families: a CLIP or SigLIP tower, a projector, one placeholder a patch."""

from __future__ import annotations

from typing import Any

import transformers as tr

from lmms_causal.testing.chat import chat_template
from lmms_causal.testing.sizes import PATCH, PATCHES, TILE, TILE_SIZE, text_sizes, tower_sizes
from lmms_causal.testing.tokenizer import build_tokenizer

__all__ = ["build_llava", "build_llava_next", "build_llava_onevision"]

PINPOINTS = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
"""Resolutions that a picture may be cut into tiles at."""


def _vicuna_tokenizer() -> Any:
    template = chat_template(
        opens="{role}: ",
        closes=" ",
        reply="ASSISTANT:",
        image="<image>\n",
        roles={"system": "SYSTEM", "user": "USER", "assistant": "ASSISTANT"},
    )
    return build_tokenizer(
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        named={"image_token": "<image>"},
        chat_template=template,
    )


def build_llava() -> tuple[Any, Any]:
    """LLaVA-1.5: CLIP with CLS, square crop, one run of 16 tokens an image."""
    tokenizer = _vicuna_tokenizer()
    config = tr.LlavaConfig(
        text_config=tr.LlamaConfig(**text_sizes(tokenizer)),
        vision_config=tr.CLIPVisionConfig(**tower_sizes(projection_dim=24)),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=PATCHES,
        tie_word_embeddings=False,
    )
    processor = tr.LlavaProcessor(
        image_processor=tr.CLIPImageProcessor(
            size={"shortest_edge": TILE},
            crop_size=TILE_SIZE,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return tr.LlavaForConditionalGeneration(config), processor


def build_llava_next() -> tuple[Any, Any]:
    """LLaVA-NeXT: a base view and tiles of any resolution, padded with zero tiles."""
    tokenizer = _vicuna_tokenizer()
    config = tr.LlavaNextConfig(
        text_config=tr.MistralConfig(**text_sizes(tokenizer, sliding_window=None)),
        vision_config=tr.CLIPVisionConfig(**tower_sizes(projection_dim=24)),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=PATCHES,
        tie_word_embeddings=False,
    )
    processor = tr.LlavaNextProcessor(
        image_processor=tr.LlavaNextImageProcessor(
            size={"shortest_edge": TILE},
            crop_size=TILE_SIZE,
            image_grid_pinpoints=PINPOINTS,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return tr.LlavaNextForConditionalGeneration(config), processor


def build_llava_onevision() -> tuple[Any, Any]:
    """LLaVA-OneVision: SigLIP tiles for one image, a base view each for several, pooled video."""
    tokenizer = build_tokenizer(
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named={"image_token": "<image>", "video_token": "<video>"},
        further=("<|im_start|>",),
        chat_template=chat_template(image="<image>\n", video="<video>\n"),
    )
    config = tr.LlavaOnevisionConfig(
        text_config=tr.Qwen2Config(**text_sizes(tokenizer)),
        vision_config=tr.SiglipVisionConfig(**tower_sizes(vision_use_head=False)),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=PINPOINTS,
        tie_word_embeddings=False,
    )
    processor = tr.LlavaOnevisionProcessor(
        image_processor=tr.LlavaOnevisionImageProcessor(
            size=TILE_SIZE, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer,
        video_processor=tr.LlavaOnevisionVideoProcessor(size=TILE_SIZE),
        num_image_tokens=PATCHES,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )
    return tr.LlavaOnevisionForConditionalGeneration(config), processor
