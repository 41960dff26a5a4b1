"""Log-likelihood of continuations given prompts, with images, for any decoder-only model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.edits.tokens import appended

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """The log-likelihood of one continuation.

    Attributes:
        log_probability: sum over its tokens, in nats.
        tokens: how many there are.
        is_greedy: whether greedy decoding would have produced exactly these.
    """

    log_probability: float
    tokens: int
    is_greedy: bool

    @property
    def mean_loss(self) -> float:
        """Mean negative log-likelihood of a token."""
        return -self.log_probability / self.tokens


def score(
    model: Any, inputs: Mapping[str, Any], continuations: Sequence[Sequence[Sequence[int]]]
) -> list[list[Score]]:
    """Score several continuations of every row; one forward pass for the whole batch.

    Args:
        inputs: the prompts, left-padded: ``input_ids [B, L]``, ``attention_mask [B, L]``, media.
        continuations: for every row the continuations to score, all with the same tokens but the
            last. (Single-token answers of one question so cost one row in all.)
    """
    shared = [list(row[0][:-1]) for row in continuations]
    for prefix, row in zip(shared, continuations, strict=True):
        if any(list(continuation[:-1]) != prefix for continuation in row):
            raise ValueError("continuations of one row must agree in all but their last token")
    width = 1 + max(map(len, shared))  # position L - 1 predicts the first continuation token
    grown = appended(inputs, shared)
    parameters = inspect.signature(model.forward).parameters
    if "logits_to_keep" in parameters:
        grown["logits_to_keep"] = width
    if "position_ids" in parameters and not _places_tokens_itself(model):
        grown["position_ids"] = _positions(grown["attention_mask"])
    output = model(**grown, use_cache=False)
    log_probabilities = output.logits[:, -width:].float().log_softmax(dim=-1)
    greedy = log_probabilities.argmax(dim=-1)
    results = []
    for index, row in enumerate(continuations):
        scores = []
        for continuation in row:
            tokens = torch.tensor(continuation, device=greedy.device)
            steps = log_probabilities[index, : len(tokens)]
            picked = steps.gather(1, tokens[:, None]).sum().item()
            matches = bool((greedy[index, : len(tokens)] == tokens).all())
            scores.append(Score(picked, len(tokens), matches))
        results.append(scores)
    return results


def _places_tokens_itself(model: Any) -> bool:
    """Whether a model derives multi-dimensional positions from mask and media, as Qwen-VL does."""
    return hasattr(getattr(model, "base_model", model), "get_rope_index")


def _positions(mask: Tensor) -> Tensor:
    """Positions ``[B, L]`` that count real tokens only, as ``generate`` makes them.

    Without them most models number the padding too, which moves learned position embeddings.
    """
    return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
