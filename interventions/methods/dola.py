"""Decoding by contrasting layers: subtract what an early layer would already have said.

Chuang et al., "DoLa: Decoding by Contrasting Layers Improves Factuality in Large Language Models",
ICLR 2024, arXiv 2309.03883; code voidism/DoLa, and a port of it in transformers.

Equations
---------
With ``q`` the next-token distribution, ``p_j`` that read from the ``j``-th hidden state through the
language-model head without the final norm (``j = 0`` are the embeddings, ``j`` the output of the
``j``-th of ``N`` layers) and ``m_j = (q + p_j) / 2``::

    j* = argmax_j  KL(q | m_j) / 2 + KL(p_j | m_j) / 2       (divergence=js)
    log q - log p_j*    on the tokens with q >= relative_top max q

``j`` runs over every second state of one half: ``low``, from 0 below ``N / 2``, or ``high``, from
``N / 2`` below ``N``; of models with more than 40 layers over the first or last 20. Where the
embeddings and the head share weights ``low`` starts at 2. The state is chosen for each answer token
and each row on its own. There is no strength, so no setting that does nothing: leave the method
out.

Cost
----
One pass a token, and the head once more for each candidate state (8 of 32 layers).

Paper and code
--------------
The paper says Jensen-Shannon divergence; the code, and transformers' port, have the arguments of
both terms the other way round, ``KL(m_j | q) / 2 + KL(m_j | p_j) / 2``, which can choose another
state: ``divergence=release``, behind all published numbers. The code averages the divergence over
the batch, which it runs with one row; here rows never depend on each other. The paper's
buckets for 33B models (60 layers) are thirds, for 65B (80 layers) quarters of 20 layers; those of
``layers`` follow transformers. Soft-capped logits are capped in early states as well; the port does
not cap these. In all their generation commands the authors set ``repetition_penalty=1.2`` (not for
the baseline): set it yourself.

Scores are log-likelihoods under the contrasted and renormalised distribution, where implausible
tokens are kept below all others. The published multiple-choice commands sum the differences as they
are, without renormalising and without the cutoff, and much of MC2 comes from that: with
renormalised scores a user reports MC2 52.2 in place of 63.8 (issue 7 of the repository).

Published
---------
LLaMA-7B, table 1, baseline to DoLa: TruthfulQA MC1 25.6 to 32.2, MC2 40.6 to 63.8 (``high``);
StrategyQA 60.1 to 64.1, GSM8K 10.8 to 10.5 (``low``). LLaMA-33B MC1 falls, 31.7 to 30.5.
Examples of open answers are decoded greedily. LLaVA-1.5 on CHAIR, as run by arXiv 2502.03628,
greedy to DoLa: CHAIR_S 46.4 to 45.4.

Unverified
----------
Which generation tasks were sampled; the settings of the FACTOR evaluation; transformers' current
code, of which a copy was read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmms_causal.interventions.plan import Increment, Plan, Signals
from lmms_causal.interventions.ranges import check_share
from lmms_causal.interventions.registry import method

__all__ = ["DoLa", "candidates", "jensen_shannon", "released_divergence"]

_SHALLOW = 40
_BUCKET = 20


@method
@dataclass(frozen=True)
class DoLa:
    """Parameters of decoding by contrasting layers.

    Attributes:
        layers: ``high`` (short factual answers) or ``low`` (long answers, reasoning): the half of
            the model whose states are candidates.
        relative_top: plausibility threshold in [0, 1]; 0 keeps every token.
        divergence: ``js`` as in the paper, or ``release``: the arguments exchanged.
    """

    layers: Literal["high", "low"] = "high"
    relative_top: float = 0.1
    divergence: Literal["js", "release"] = "js"

    def __post_init__(self) -> None:
        check_share(self, "relative_top")

    def plan(self) -> Plan:
        """One increment from the factual pass's own layers."""
        increment = Increment("dola", self.increment, layers=self.read, beta=self.relative_top)
        return Plan(increments=(increment,))

    def read(self, depth: int) -> list[int]:
        """Layers, counted from 0, whose outputs are candidates; -1 for the embeddings."""
        both = {*candidates(depth, self.layers, False), *candidates(depth, self.layers, True)}
        return sorted(state - 1 for state in both)

    def increment(self, signals: Signals) -> Tensor:
        """``-log p_j*``, ``[B, K, V]``; added to logits ``log q - log p_j*`` and a constant."""
        mature = signals.factual.log_softmax(dim=-1)
        distance = jensen_shannon if self.divergence == "js" else released_divergence
        chosen: Tensor | None = None
        largest: Tensor | None = None
        for state in candidates(signals.depth, self.layers, signals.tied):
            early = signals.early(state - 1, False).log_softmax(dim=-1)
            found = distance(mature, early)[..., None]
            if chosen is None or largest is None:
                chosen, largest = early, found
            else:  # the first of equals, as in the code
                chosen = torch.where(found > largest, early, chosen)
                largest = torch.maximum(found, largest)
        assert chosen is not None
        return -chosen


def candidates(depth: int, half: Literal["high", "low"], tied: bool) -> tuple[int, ...]:
    """Return the hidden states that may be contrasted: 0 the embeddings, ``j`` the ``j``-th layer.

    Args:
        depth: number of decoder layers.
        half: ``low`` or ``high``.
        tied: whether the head's weights are those of the embeddings. Read through it embeddings say
            the token they stand for, so ``low`` begins later.
    """
    shallow = depth <= _SHALLOW
    if half == "high":
        return tuple(range(depth // 2 if shallow else depth - _BUCKET, depth, 2))
    start = min(depth - 1, 2) if tied else 0
    return tuple(range(start, depth // 2 if shallow else _BUCKET, 2)) or (start,)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Return ``KL(p | m) / 2 + KL(q | m) / 2``, ``[...]``, of log-probabilities ``[..., V]``."""
    middle = _middle(first, second)
    terms = first.exp() * (first - middle) + second.exp() * (second - middle)
    return terms.sum(dim=-1) / 2


def released_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return ``KL(m | p) / 2 + KL(m | q) / 2``, ``[...]``, of log-probabilities ``[..., V]``."""
    middle = _middle(first, second)
    return (middle.exp() * (2 * middle - first - second)).sum(dim=-1) / 2


def _middle(first: Tensor, second: Tensor) -> Tensor:
    """Log-probabilities of the mean of two distributions."""
    return torch.logaddexp(first, second) - math.log(2)
