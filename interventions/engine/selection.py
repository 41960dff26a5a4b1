"""Draw several answers and keep one: an equal-compute baseline for methods with several passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper

from lmms_causal.errors import UserError
from lmms_causal.interventions.engine.request import Request, seeds_of
from lmms_causal.interventions.plan import Selection

__all__ = ["InverseTransformDraw", "select"]

_REFUSED = ("num_beams", "num_return_sequences")


class InverseTransformDraw(LogitsProcessor):
    """Draw every row's next token from its own generator, by inverting the distribution function.

    Everything but the drawn token gets ``-inf``, so greedy decoding then takes it. A row's draws
    depend on its generator only, not on the batch.
    """

    def __init__(self, generators: list[torch.Generator]) -> None:
        self._generators = generators

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores ``[B, V]`` with one finite entry a row."""
        draws = torch.cat(
            [torch.rand(1, generator=g, dtype=torch.float64) for g in self._generators]
        )
        # Apple's GPUs have no float64
        precise = scores.cpu() if scores.device.type == "mps" else scores
        cumulative = precise.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        target = draws.to(precise.device)[:, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, target, right=True)
        token = token.clamp(max=scores.shape[-1] - 1).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


def select(
    selection: Selection,
    generate: Callable[..., Any],
    kwargs: Mapping[str, Any],
    request: Request,
    model: Any,
) -> Tensor:
    """Return token ids ``[B, L + T]``: of ``count`` answers a prompt, the one that is selected.

    A caller that decodes greedily gets draws at the selection's temperature; one that samples is
    simply asked several times.

    Args:
        selection: how many, and which.
        generate: one call of ``generate``.
        kwargs: its arguments.
        request: what the host said about the batch.
        model: its end-of-sequence token.

    Raises:
        UserError: the caller asks for beams, several answers or more than the tokens.
    """
    for name in _REFUSED:
        if (kwargs.get(name) or 1) > 1:
            raise UserError(f"{selection.method} draws its answers itself; leave out {name}")
    if kwargs.get("return_dict_in_generate") or kwargs.get("streamer") is not None:
        raise UserError(
            f"{selection.method} returns the tokens of the selected answer only; leave out "
            "return_dict_in_generate and streamer"
        )
    ids = kwargs["input_ids"] if kwargs.get("input_ids") is not None else kwargs["inputs"]
    generators = [
        torch.Generator().manual_seed((seed ^ (selection.seed * 0x9E3779B1)) % 2**63)
        for seed in seeds_of(request, {**kwargs, "input_ids": ids})
    ]
    processors = LogitsProcessorList(kwargs.get("logits_processor") or [])
    if not kwargs.get("do_sample"):
        processors.append(TemperatureLogitsWarper(selection.temperature))
        processors.append(InverseTransformDraw(generators))
    ends = _ends(kwargs, model)
    answers: list[list[list[int]]] = []
    likelihoods: list[list[float]] = []
    for _ in range(selection.count):
        output = generate(
            **{
                **kwargs,
                "logits_processor": processors,
                "return_dict_in_generate": True,
                "output_logits": True,
            }
        )
        drawn = output.sequences[:, ids.shape[1] :]
        logits = torch.stack(output.logits, dim=1).float()
        chosen = logits.log_softmax(dim=-1).gather(2, drawn[..., None])[..., 0]
        rows = [_ended(row, ends) for row in drawn.tolist()]
        answers.append(rows)
        likelihoods.append([float(chosen[i, : len(row)].mean()) for i, row in enumerate(rows)])
    picked = [
        answers[
            _best([a[row] for a in answers], [value[row] for value in likelihoods], selection.by)
        ][row]
        for row in range(ids.shape[0])
    ]
    width = max(map(len, picked))
    filler = _filler(kwargs, model, ends)
    tail = torch.tensor(
        [row + [filler] * (width - len(row)) for row in picked], dtype=ids.dtype, device=ids.device
    )
    return torch.cat([ids, tail], dim=1)


def _best(answers: list[list[int]], likelihoods: list[float], by: str) -> int:
    """Index of the likeliest answer, or of the likeliest among the most frequent ones."""
    order = range(len(answers))
    if by == "majority":
        counts = Counter(map(tuple, answers))
        return max(order, key=lambda i: (counts[tuple(answers[i])], likelihoods[i]))
    return max(order, key=lambda i: likelihoods[i])


def _ended(row: list[int], ends: frozenset[int]) -> list[int]:
    """The answer up to and including its end token."""
    stop = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
    return row[:stop]


def _ends(kwargs: Mapping[str, Any], model: Any) -> frozenset[int]:
    config = kwargs.get("generation_config") or model.generation_config
    ends = kwargs.get("eos_token_id", config.eos_token_id)
    ends = [] if ends is None else ends
    return frozenset(ends if isinstance(ends, (list, tuple)) else [int(ends)])


def _filler(kwargs: Mapping[str, Any], model: Any, ends: frozenset[int]) -> int:
    """What pads a shorter answer, as ``generate`` would."""
    for value in (kwargs.get("pad_token_id"), model.generation_config.pad_token_id, *sorted(ends)):
        if value is not None:
            return int(value)
    return 0
