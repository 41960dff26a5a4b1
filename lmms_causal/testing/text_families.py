"""Builders of the tiny text families: the real causal language models with random weights."""

from __future__ import annotations

from typing import Any

import transformers as tr

from lmms_causal.testing.chat import chat_template
from lmms_causal.testing.sizes import text_sizes
from lmms_causal.testing.tokenizer import build_tokenizer

__all__ = [
    "build_gemma2",
    "build_llama",
    "build_mistral",
    "build_phi",
    "build_qwen2",
    "build_qwen3",
]


def _chatml() -> Any:
    return build_tokenizer(
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        further=("<|im_start|>",),
        chat_template=chat_template(),
    )


def _instruct(begin: str = "<s>") -> Any:
    return build_tokenizer(
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        chat_template=chat_template(
            begin=begin, opens="[{role}] ", closes="</s>", reply="[assistant]"
        ),
    )


def build_llama() -> tuple[Any, Any]:
    """Llama: grouped-query attention, a beginning-of-sequence token."""
    tokenizer = _instruct()
    return tr.LlamaForCausalLM(tr.LlamaConfig(**text_sizes(tokenizer))), tokenizer


def build_mistral() -> tuple[Any, Any]:
    """Mistral: a sliding window in every layer, shorter than the prompts of the tests."""
    tokenizer = _instruct()
    return tr.MistralForCausalLM(
        tr.MistralConfig(**text_sizes(tokenizer, sliding_window=11))
    ), tokenizer


def build_phi() -> tuple[Any, Any]:
    """Phi: LayerNorm, parallel blocks, partial rotary embedding, no grouped heads."""
    tokenizer = _instruct()
    config = tr.PhiConfig(**text_sizes(tokenizer, num_key_value_heads=4))
    return tr.PhiForCausalLM(config), tokenizer


def build_qwen2() -> tuple[Any, Any]:
    """Qwen2: biased projections, no beginning-of-sequence token."""
    tokenizer = _chatml()
    return tr.Qwen2ForCausalLM(tr.Qwen2Config(**text_sizes(tokenizer))), tokenizer


def build_qwen3() -> tuple[Any, Any]:
    """Qwen3: normalised queries and keys, a head size of its own."""
    tokenizer = _chatml()
    return tr.Qwen3ForCausalLM(tr.Qwen3Config(**text_sizes(tokenizer, head_dim=16))), tokenizer


def build_gemma2() -> tuple[Any, Any]:
    """Gemma 2: alternating sliding and full layers, soft-capped scores and logits."""
    tokenizer = _instruct()
    config = tr.Gemma2Config(
        **text_sizes(tokenizer, head_dim=8, query_pre_attn_scalar=8, sliding_window=11)
    )
    return tr.Gemma2ForCausalLM(config), tokenizer
