"""InternVL, Idefics3, SmolVLM and Gemma 3: few tokens a tile, marked by tokens around it."""

from __future__ import annotations

from typing import Any

import transformers as tr

from lmms_causal.testing.chat import chat_template
from lmms_causal.testing.sizes import PATCH, PATCHES, TILE, TILE_SIZE, text_sizes, tower_sizes
from lmms_causal.testing.tokenizer import build_tokenizer

__all__ = ["build_gemma3", "build_idefics3", "build_internvl", "build_smolvlm"]


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
        text_config=tr.Qwen2Config(**text_sizes(tokenizer)),
        vision_config=tr.InternVLVisionConfig(
            **tower_sizes(image_size=[TILE, TILE], patch_size=[PATCH, PATCH], num_hidden_layers=2)
        ),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=PATCHES // 4,
        tie_word_embeddings=False,
    )
    processor = tr.InternVLProcessor(
        image_processor=tr.GotOcr2ImageProcessor(size=TILE_SIZE, max_patches=4),
        tokenizer=tokenizer,
        video_processor=tr.InternVLVideoProcessor(size=TILE_SIZE),
        image_seq_length=PATCHES // 4,
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
        "text_config": tr.LlamaConfig(**text_sizes(tokenizer)),
        "image_token_id": tokenizer.image_token_id,
        "scale_factor": 2,
        "tie_word_embeddings": False,
    }


def build_idefics3() -> tuple[Any, Any]:
    """Idefics3: up to four tiles and a global view, rows of a batch padded with empty images."""
    tokenizer = _idefics_tokenizer()
    config = tr.Idefics3Config(
        vision_config=tr.Idefics3VisionConfig(**tower_sizes()), **_idefics_parts(tokenizer)
    )
    processor = tr.Idefics3Processor(
        image_processor=tr.Idefics3ImageProcessor(
            size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE}
        ),
        tokenizer=tokenizer,
        image_seq_len=PATCHES // 4,
        chat_template=tokenizer.chat_template,
    )
    return tr.Idefics3ForConditionalGeneration(config), processor


def build_smolvlm() -> tuple[Any, Any]:
    """SmolVLM: as Idefics3, with video as frames. Its processor needs the package num2words."""
    tokenizer = _idefics_tokenizer()
    config = tr.SmolVLMConfig(
        vision_config=tr.SmolVLMVisionConfig(**tower_sizes()), **_idefics_parts(tokenizer)
    )
    edge = {"longest_edge": TILE}
    processor = tr.SmolVLMProcessor(
        image_processor=tr.SmolVLMImageProcessor(
            size={"longest_edge": 2 * TILE}, max_image_size=edge
        ),
        tokenizer=tokenizer,
        video_processor=tr.SmolVLMVideoProcessor(
            size=edge,
            max_image_size=edge,
            video_sampling={"max_frames": 4, "fps": 1, "video_size": edge},
        ),
        image_seq_len=PATCHES // 4,
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
            **text_sizes(
                tokenizer,
                head_dim=8,
                query_pre_attn_scalar=8,
                sliding_window=16,
                layer_types=["sliding_attention", "full_attention"],
            )
        ),
        vision_config=tr.SiglipVisionConfig(**tower_sizes(vision_use_head=False)),
        mm_tokens_per_image=PATCHES // 4,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        tie_word_embeddings=False,
    )
    processor = tr.Gemma3Processor(
        image_processor=tr.Gemma3ImageProcessor(size=TILE_SIZE),
        tokenizer=tokenizer,
        image_seq_length=PATCHES // 4,
        chat_template=tokenizer.chat_template,
    )
    return tr.Gemma3ForConditionalGeneration(config), processor
