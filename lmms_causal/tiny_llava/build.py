"""Tokenizer, processor and untrained weights of the tiny LLaVA, all made here from nothing.

The tokenizer is a byte-level BPE trained on the words of the rendered world, so that every such
word is one token (with its leading space) and every other text still tokenises, byte by byte.
The architecture is LLaVA-1.5's in small: CLIP vision tower, two-layer projector, Llama.
"""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from lmms_causal.tasks.causal_vqa_mini.world import ACTORS, COLOURS, OBJECTS, SIZE

PATCH = 8
IMAGE_TOKENS = (SIZE // PATCH) ** 2
HIDDEN = 128
HEADS = 4

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
PAD, BOS, EOS, UNK, IMAGE = range(len(SPECIAL_TOKENS))

_FIRST_WORDS = (
    "USER",
    "ASSISTANT",
    "SYSTEM",
    "what",
    "which",
    "is",
    "describe",
    "check",
    "explain",
)
_FUNCTION_WORDS = (
    *("the", "a", "an", "in", "there", "color", "right", "because", "moved", "fell", "happened"),
    *("objects", "image", "yes", "no", "A", "B"),
)
WORDS = (*OBJECTS, *COLOURS, *ACTORS, *_FIRST_WORDS, *_FUNCTION_WORDS)
"""Every word of the training text, each one token when it follows a space."""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- message['role'] | upper + ': ' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'image' -%}
{{- '<image>\\n' -}}
{%- elif item['type'] == 'text' -%}
{{- item['text'] -}}
{%- else -%}
{{- raise_exception('this model reads text and images, not ' + item['type']) -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '</s>' if message['role'] == 'assistant' else ' ' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'ASSISTANT:' -}}
{%- endif -%}
"""
"""LLaVA-1.5's prompt. Takes string and list content; ends without the space the answer carries."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which each of `WORDS` is one token after a space."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([" " + word for word in WORDS] + list(_FIRST_WORDS), trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    for word in WORDS:
        pieces = tokenizer.encode(" " + word, add_special_tokens=False)
        if len(pieces) != 1:
            raise RuntimeError(f"the word {word!r} became {len(pieces)} tokens, expected one")
    return tokenizer


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The processor: 48x48 pixels scaled to -1..1, and `IMAGE_TOKENS` placeholders an image."""
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" drops again
        chat_template=CHAT_TEMPLATE,
    )


def build_model(vocabulary: int, seed: int) -> LlavaForConditionalGeneration:
    """The untrained model in float32, its weights fixed by the seed.

    The wide initialisation of the language model (0.08 instead of 0.02) matters: with the usual
    one the attention of such narrow layers stays uniform and nothing is ever bound to anything.
    """
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        initializer_range=0.08,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False
    )
    return model


def to_pixel_values(pixels: np.ndarray) -> torch.Tensor:
    """What the processor makes of 48x48 pictures: uint8 (B, 48, 48, 3) to float (B, 3, 48, 48)."""
    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    return (values / 255 - 0.5) / 0.5
