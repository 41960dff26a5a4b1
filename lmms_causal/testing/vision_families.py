"""Builders of the tiny image-text-to-text families: real classes and processors, random weights.

Every image is scaled to 28 to 56 pixels and becomes 4 to about 60 tokens. Widths, heads and layers
are small and deliberately unequal (grouped-query heads, two or three layers), special tokens and
placeholders are those that the family's processor looks for.
"""

from __future__ import annotations

from typing import Any

import transformers as tr

from lmms_causal.testing.chat import chat_template
from lmms_causal.testing.tokenizer import build_tokenizer

__all__ = [
    "build_gemma3",
    "build_idefics3",
    "build_internvl",
    "build_llava",
    "build_llava_next",
    "build_llava_onevision",
    "build_qwen2_5_vl",
    "build_qwen2_vl",
    "build_qwen3_vl",
    "build_smolvlm",
]

_WIDTH = 32
_TILE = 28
_PATCH = 7
_PATCHES = (_TILE // _PATCH) ** 2
_PINPOINTS = [[_TILE, 2 * _TILE], [2 * _TILE, _TILE], [2 * _TILE, 2 * _TILE]]
_TILE_SIZE = {"height": _TILE, "width": _TILE}


def _text(tokenizer: Any, **further: Any) -> dict[str, Any]:
    """Arguments that every text configuration shares."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": _WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **further,
    }


def _tower(**further: Any) -> dict[str, Any]:
    """Arguments that the CLIP-like vision configurations share."""
    return {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": _TILE,
        "patch_size": _PATCH,
        **further,
    }


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
        text_config=tr.LlamaConfig(**_text(tokenizer)),
        vision_config=tr.CLIPVisionConfig(**_tower(projection_dim=24)),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=_PATCHES,
        tie_word_embeddings=False,
    )
    processor = tr.LlavaProcessor(
        image_processor=tr.CLIPImageProcessor(
            size={"shortest_edge": _TILE},
            crop_size=_TILE_SIZE,
        ),
        tokenizer=tokenizer,
        patch_size=_PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return tr.LlavaForConditionalGeneration(config), processor


def build_llava_next() -> tuple[Any, Any]:
    """LLaVA-NeXT: a base view and tiles of any resolution, padded with zero tiles."""
    tokenizer = _vicuna_tokenizer()
    config = tr.LlavaNextConfig(
        text_config=tr.MistralConfig(**_text(tokenizer, sliding_window=None)),
        vision_config=tr.CLIPVisionConfig(**_tower(projection_dim=24)),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=_PINPOINTS,
        image_seq_length=_PATCHES,
        tie_word_embeddings=False,
    )
    processor = tr.LlavaNextProcessor(
        image_processor=tr.LlavaNextImageProcessor(
            size={"shortest_edge": _TILE},
            crop_size=_TILE_SIZE,
            image_grid_pinpoints=_PINPOINTS,
        ),
        tokenizer=tokenizer,
        patch_size=_PATCH,
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
        text_config=tr.Qwen2Config(**_text(tokenizer)),
        vision_config=tr.SiglipVisionConfig(**_tower(vision_use_head=False)),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=_PINPOINTS,
        tie_word_embeddings=False,
    )
    processor = tr.LlavaOnevisionProcessor(
        image_processor=tr.LlavaOnevisionImageProcessor(
            size=_TILE_SIZE, image_grid_pinpoints=_PINPOINTS
        ),
        tokenizer=tokenizer,
        video_processor=tr.LlavaOnevisionVideoProcessor(size=_TILE_SIZE),
        num_image_tokens=_PATCHES,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )
    return tr.LlavaOnevisionForConditionalGeneration(config), processor


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
        text_config=_text(tokenizer, rope_parameters=_mrope(2, 1, 1)),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": _WIDTH, "num_heads": 2},
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
        "out_hidden_size": _WIDTH,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = tr.Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_parameters=_mrope(2, 1, 1)),
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
        "out_hidden_size": _WIDTH,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [1],
    }
    config = tr.Qwen3VLConfig(
        text_config=_text(tokenizer, head_dim=16, rope_parameters=_mrope(4, 2, 2)),
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


def build_internvl() -> tuple[Any, Any]:
    """InternVL (hf): tiles and a thumbnail, four tokens each after pixel shuffle."""
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = build_tokenizer(
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named=named,
        further=("<|im_start|>",),
        chat_template=chat_template(image="<IMG_CONTEXT>\n", video="<video>\n"),
    )
    config = tr.InternVLConfig(
        text_config=tr.Qwen2Config(**_text(tokenizer)),
        vision_config=tr.InternVLVisionConfig(
            **_tower(image_size=[_TILE, _TILE], patch_size=[_PATCH, _PATCH], num_hidden_layers=2)
        ),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=_PATCHES // 4,
        tie_word_embeddings=False,
    )
    processor = tr.InternVLProcessor(
        image_processor=tr.GotOcr2ImageProcessor(size=_TILE_SIZE, max_patches=4),
        tokenizer=tokenizer,
        video_processor=tr.InternVLVideoProcessor(size=_TILE_SIZE),
        image_seq_length=_PATCHES // 4,
        chat_template=tokenizer.chat_template,
    )
    return tr.InternVLForConditionalGeneration(config), processor


def _idefics_tokenizer() -> Any:
    named = {
        "image_token": "<image>",
        "video_token": "<video>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    template = chat_template(
        begin="<|im_start|>",
        opens="{role}: ",
        closes="<end_of_utterance>\n",
        reply="Assistant:",
        roles={"system": "System", "user": "User", "assistant": "Assistant"},
    )
    cells = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
    return build_tokenizer(
        bos="<|im_start|>",
        eos="<end_of_utterance>",
        pad="<|im_end|>",
        named=named,
        further=cells,
        chat_template=template,
    )


def _idefics_parts(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": tr.LlamaConfig(**_text(tokenizer)),
        "image_token_id": tokenizer.image_token_id,
        "scale_factor": 2,
        "tie_word_embeddings": False,
    }


def build_idefics3() -> tuple[Any, Any]:
    """Idefics3: up to four tiles and a global view, rows of a batch padded with empty images."""
    tokenizer = _idefics_tokenizer()
    config = tr.Idefics3Config(
        vision_config=tr.Idefics3VisionConfig(**_tower()), **_idefics_parts(tokenizer)
    )
    processor = tr.Idefics3Processor(
        image_processor=tr.Idefics3ImageProcessor(
            size={"longest_edge": 2 * _TILE}, max_image_size={"longest_edge": _TILE}
        ),
        tokenizer=tokenizer,
        image_seq_len=_PATCHES // 4,
        chat_template=tokenizer.chat_template,
    )
    return tr.Idefics3ForConditionalGeneration(config), processor


def build_smolvlm() -> tuple[Any, Any]:
    """SmolVLM: as Idefics3, with video as frames. Its processor needs the package num2words."""
    tokenizer = _idefics_tokenizer()
    config = tr.SmolVLMConfig(
        vision_config=tr.SmolVLMVisionConfig(**_tower()), **_idefics_parts(tokenizer)
    )
    edge = {"longest_edge": _TILE}
    processor = tr.SmolVLMProcessor(
        image_processor=tr.SmolVLMImageProcessor(
            size={"longest_edge": 2 * _TILE}, max_image_size=edge
        ),
        tokenizer=tokenizer,
        video_processor=tr.SmolVLMVideoProcessor(
            size=edge,
            max_image_size=edge,
            video_sampling={"max_frames": 4, "fps": 1, "video_size": edge},
        ),
        image_seq_len=_PATCHES // 4,
        chat_template=tokenizer.chat_template,
    )
    return tr.SmolVLMForConditionalGeneration(config), processor


def build_gemma3() -> tuple[Any, Any]:
    """Gemma 3: sliding and full layers, attention in both directions inside an image."""
    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    tokenizer = build_tokenizer(
        bos="<bos>",
        eos="<end_of_turn>",
        pad="<pad>",
        named=named,
        further=("<start_of_turn>",),
        chat_template=chat_template(
            begin="<bos>",
            opens="<start_of_turn>{role}\n",
            closes="<end_of_turn>\n",
            reply="<start_of_turn>model\n",
            image="<start_of_image>",
            roles={"assistant": "model"},
        ),
    )
    config = tr.Gemma3Config(
        text_config=tr.Gemma3TextConfig(
            **_text(
                tokenizer,
                head_dim=8,
                query_pre_attn_scalar=8,
                sliding_window=16,
                layer_types=["sliding_attention", "full_attention"],
            )
        ),
        vision_config=tr.SiglipVisionConfig(**_tower(vision_use_head=False)),
        mm_tokens_per_image=_PATCHES // 4,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        tie_word_embeddings=False,
    )
    processor = tr.Gemma3Processor(
        image_processor=tr.Gemma3ImageProcessor(size=_TILE_SIZE),
        tokenizer=tokenizer,
        image_seq_length=_PATCHES // 4,
        chat_template=tokenizer.chat_template,
    )
    return tr.Gemma3ForConditionalGeneration(config), processor
