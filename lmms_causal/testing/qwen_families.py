"""The Qwen-VL families: matrices of patches with a grid, rotary positions in three dimensions."""

from __future__ import annotations

from typing import Any

import transformers as tr

from lmms_causal.testing.chat import chat_template
from lmms_causal.testing.sizes import WIDTH, text_sizes
from lmms_causal.testing.tokenizer import build_tokenizer

__all__ = ["build_qwen2_5_vl", "build_qwen2_vl", "build_qwen3_vl"]


def _qwen_tokenizer() -> Any:
    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    return build_tokenizer(
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named=named,
        further=("<|im_start|>",),
        chat_template=chat_template(
            image="<|vision_start|><|image_pad|><|vision_end|>",
            video="<|vision_start|><|video_pad|><|vision_end|>",
        ),
    )


def _qwen_tokens(tokenizer: Any) -> dict[str, Any]:
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {name: getattr(tokenizer, name) for name in names}


def _qwen_media(patch: int, videos: Any) -> dict[str, Any]:
    """Image and video processors whose results have 2 to 8 merged tokens a picture."""
    token = (2 * patch) ** 2
    image = tr.Qwen2VLImageProcessor(
        patch_size=patch, size={"shortest_edge": 2 * token, "longest_edge": 8 * token}
    )
    video = videos(patch_size=patch, size={"shortest_edge": 2 * token, "longest_edge": 16 * token})
    return {"image_processor": image, "video_processor": video}


def _mrope(*section: int) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(section)}


def build_qwen2_vl() -> tuple[Any, Any]:
    """Qwen2-VL: a matrix of patches with a grid, native resolution, rotary positions in 3-D."""
    tokenizer = _qwen_tokenizer()
    config = tr.Qwen2VLConfig(
        text_config=text_sizes(tokenizer, rope_parameters=_mrope(2, 1, 1)),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2},
        tie_word_embeddings=False,
        **_qwen_tokens(tokenizer),
    )
    processor = tr.Qwen2VLProcessor(
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        **_qwen_media(14, tr.Qwen2VLVideoProcessor),
    )
    return tr.Qwen2VLForConditionalGeneration(config), processor


def build_qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL: as Qwen2-VL, with windowed vision attention in the first block."""
    tokenizer = _qwen_tokenizer()
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = tr.Qwen2_5_VLConfig(
        text_config=text_sizes(tokenizer, rope_parameters=_mrope(2, 1, 1)),
        vision_config=vision,
        tie_word_embeddings=False,
        **_qwen_tokens(tokenizer),
    )
    processor = tr.Qwen2_5_VLProcessor(
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        **_qwen_media(14, tr.Qwen2VLVideoProcessor),
    )
    return tr.Qwen2_5_VLForConditionalGeneration(config), processor


def build_qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL: visual features also enter the first decoder layer (deepstack)."""
    tokenizer = _qwen_tokenizer()
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [1],
    }
    config = tr.Qwen3VLConfig(
        text_config=text_sizes(tokenizer, head_dim=16, rope_parameters=_mrope(4, 2, 2)),
        vision_config=vision,
        tie_word_embeddings=False,
        **_qwen_tokens(tokenizer),
    )
    processor = tr.Qwen3VLProcessor(
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        **_qwen_media(16, tr.Qwen3VLVideoProcessor),
    )
    return tr.Qwen3VLForConditionalGeneration(config), processor
