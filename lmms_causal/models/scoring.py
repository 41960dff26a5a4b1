"""Log-likelihood of continuations given prompts, with images, for any decoder-only model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Score", "append", "score"]


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
    grown = append(inputs, shared)
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


def append(inputs: Mapping[str, Any], added: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Append tokens to every row, padding on the right with masked positions.

    Whatever has the shape of ``input_ids`` ``[B, L]`` is a per-token input and grows with it: the
    mask by ones for real tokens, token types by zeros (text).
    """
    ids: Tensor = inputs["input_ids"]
    width = max(map(len, added))
    if width == 0:
        return dict(inputs)
    tokens = torch.zeros(len(added), width, dtype=ids.dtype, device=ids.device)
    mask = torch.zeros_like(tokens)
    for row, new in enumerate(added):
        tokens[row, : len(new)] = torch.tensor(new, dtype=ids.dtype)
        mask[row, : len(new)] = 1
    grown = {}
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.shape == ids.shape:
            extra = {"input_ids": tokens, "attention_mask": mask}.get(name, torch.zeros_like(mask))
            grown[name] = torch.cat([value, extra.to(value.dtype)], dim=1)
        else:
            grown[name] = value
    return grown
