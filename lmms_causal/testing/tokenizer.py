"""A small byte-level BPE tokenizer, trained on the spot; any text survives a round trip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

__all__ = ["ANSWERS", "build_tokenizer"]

ANSWERS = (" yes", " no", " Yes", " No", " A", " B", " C", " D")
"""Answers that multiple-choice and yes/no tasks score; each is one token."""

_CORPUS = (
    "Is there a red ball in the image? Answer the question with yes or no.",
    "Which option describes the picture? (A) the cause (B) the effect (C) both (D) none",
    "Did the wind cause the glass to fall because the window was open?",
    "Read the question again: what happened before the boy dropped the cup, and why?",
    "The answer is A. The answer is B. The answer is C. The answer is D. Yes. No. yes no Yes No",
    "You are a helpful assistant. user assistant system User Assistant Frame1: Frame2:",
)
_VOCABULARY_SIZE = 448


@lru_cache(maxsize=1)
def _trained() -> str:
    """The serialised bytes-and-merges part that all families share."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY_SIZE,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS + tuple(ANSWERS * 4), trainer)
    return tokenizer.to_str()


def build_tokenizer(
    *,
    bos: str | None,
    eos: str,
    pad: str,
    named: Mapping[str, str] | None = None,
    further: tuple[str, ...] = (),
    chat_template: str | None = None,
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a family's special tokens; left padding.

    Args:
        bos: put before every text, unless None.
        eos: end of a sequence or turn.
        pad: padding token.
        named: special tokens that become attributes, e.g. ``{"image_token": "<image>"}``.
        further: special tokens without a name.
        chat_template: Jinja template of a conversation.
    """
    tokenizer = Tokenizer.from_str(_trained())
    tokenizer.decoder = ByteLevelDecoder()
    named = dict(named or {})
    special = [pad, bos, eos, *named.values(), *further]
    tokenizer.add_special_tokens(list(dict.fromkeys(token for token in special if token)))
    if bos:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens=named,
        additional_special_tokens=list(further),
        padding_side="left",
        chat_template=chat_template,
        model_max_length=4096,
    )
