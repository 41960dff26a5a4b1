"""Retrieval heads: take the heads that copy from the prompt out, or as many others.

Wu et al., "Retrieval Head Mechanistically Explains Long-Context Factuality", ICLR 2025, arXiv
2404.15574; code nightdessert/Retrieval_Head.

Equations
---------
A head's score is the share of a needle's tokens that it copies: steps at which the token with its
greatest weight is in the needle and is the token written, over the needle's length, averaged over
needles in haystacks (``lmms-causal attend`` measures it). The heads with a score above
``threshold``, or the ``top`` ones, are ablated, at the tokens that predict the answer::

    uniform    they attend to all that they may see alike
    zero       their output is 0
    mean       their output is that of a table

Cost
----
Explicit weights of the heads ablated at the tokens that predict the answer, for uniform; else none.

Paper and code
--------------
"Masking" in the code sets a head's queries to 0, so that it attends uniformly, and does so in the
passes that decode only: from the prompt's last token on, but not in the prompt before it. That is
the default here, ``ablation=uniform`` and ``queries=predicting``. With ``queries=all`` the reading
of the prompt is ablated too.

Scores are a file of the code's form, JSON lines ``{"layer-head": [score, ...]}``, one score for
each run that counted, named with the digest of its content. The highest heads of the authors'
models are also known by name: ``scores=llama-2-7b-80k``, ``llama-2-13b-64k``, ``Mistral-7B-v0.2``,
``Mixtral-8x7B``, ``Yi-6B-200K``, ``Qwen1.5-14B`` and ``Qwen1.5-14B-Chat``, the highest 5 to 10 of
each, recomputed from their files.

``random`` is the control: as many heads, drawn from those of the file that are neither chosen nor
above the threshold. The code means to leave out the 100 best, but compares a pair with lists, which
are never equal, and leaves out none; it also draws one number for layer and head from 0 to 31.

Published
---------
Heads above 0.1: 3 to 6 per cent in all models. Needle in a haystack with the 50 best heads masked:
below 50, with 50 random ones above 80. Mistral-7B-Instruct-v0.2: extractive question answering, F1,
56.7 to 47.5 (50 masked) and 32.3 (100), random 55.7 and 55.4; GSM8K with reasoning 45.1 to 2.0
(100), MMLU with reasoning 43.6 to 24.8.

Unverified
----------
Nothing of the above.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.ablation import Ablation, ablated, read_means, unfit
from lmms_causal.interventions.attention.heads import Heads, parse_heads
from lmms_causal.interventions.attention.published_heads import RETRIEVAL, retrieval_scores
from lmms_causal.interventions.attention.scores import read_scores
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.attention.spans import parse_span
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.ranges import check_not_negative
from lmms_causal.interventions.registry import method

__all__ = ["RetrievalHeads"]

_NAME = "retrieval_heads"


@method
@dataclass(frozen=True)
class RetrievalHeads:
    """Parameters of the ablation of retrieval heads; ``scores`` or ``heads`` says which they are.

    Attributes:
        scores: a file of scores with its digest, ``FILE#DIGEST``, or the name of a model of the
            authors', such as ``llama-2-7b-80k``.
        heads: instead of scores, the heads themselves, as ``12.3|14.0-2``.
        threshold: mean score above which a head is a retrieval head.
        top: instead of the threshold, how many heads of the highest scores; 0 turns the method off.
        ablation: what becomes of them: ``uniform``, ``zero``, or ``mean`` (of a table).
        queries: the tokens at which they are ablated: ``predicting`` (the prompt's last, and the
            answer), ``all``, or another span.
        random: a seed; as many other heads, drawn with it, are ablated instead. None: the retrieval
            heads are.
        table: for ``mean``, a file of mean outputs with its digest, ``FILE#DIGEST``.
    """

    example: ClassVar[str] = "retrieval_heads(heads=0.1|1.2)"

    scores: str | None = None
    heads: str | None = None
    threshold: float = 0.1
    top: int | None = None
    ablation: Ablation = "uniform"
    queries: str = "predicting"
    random: int | None = None
    table: str | None = None

    def __post_init__(self) -> None:
        if self.heads is not None:
            object.__setattr__(self, "heads", self.heads.replace(",", "|"))
        if (self.scores is None) == (self.heads is None):
            raise UserError(
                f"intervention {_NAME}: scores={self.scores} and heads={self.heads} must be one or "
                "the other; write scores=FILE#DIGEST, or heads=12.3|14.0"
            )
        if self.heads is not None and (self.random is not None or self.top is not None):
            raise UserError(
                f"intervention {_NAME}: top={self.top} and random={self.random} must come with "
                "scores=FILE#DIGEST, which has all heads"
            )
        if self.top is not None and self.top < 0:
            raise UserError(f"intervention {_NAME}: top={self.top} must be 0 or more")
        check_not_negative(self, "threshold")
        parse_span(_NAME, "queries", self.queries)
        read_means(_NAME, self.ablation, self.table)
        self.chosen()

    def chosen(self) -> Heads:
        """The heads that are ablated.

        Raises:
            UserError: the file of scores cannot be read, or has no such heads, or too few others.
        """
        if self.heads is not None:
            return parse_heads(_NAME, "heads", self.heads)
        scores = self._scores()
        ranked = sorted(scores, key=lambda place: (-scores[place], place))
        above = [place for place in ranked if scores[place] > self.threshold]
        chosen = above if self.top is None else ranked[: self.top]
        if len(chosen) < (self.top or 0):
            raise UserError(
                f"intervention {_NAME}: top={self.top} must be at most {len(ranked)}, the heads in "
                f"scores={self.scores}"
            )
        if not chosen and self.top is None:
            raise UserError(
                f"intervention {_NAME}: no head in scores={self.scores} is above threshold="
                f"{self.threshold}; lower it, or name the number of heads by top"
            )
        if self.random is not None:
            chosen = self._others(set(ranked) - set(chosen) - set(above), len(chosen))
        return Heads(frozenset(), frozenset(chosen))

    def _scores(self) -> dict[tuple[int, int], float]:
        reference = str(self.scores)
        if reference in RETRIEVAL:
            if self.random is not None:
                raise UserError(
                    f"intervention {_NAME}: random={self.random} draws from all heads, and scores="
                    f"{reference} names the highest only; give a file, scores=FILE#DIGEST"
                )
            return retrieval_scores(reference)
        try:
            return read_scores(reference, _NAME, "scores")
        except UserError as error:
            if "cannot read" not in str(error):
                raise
            known = f"{nearest(reference, RETRIEVAL)}; names known are {', '.join(RETRIEVAL)}"
            raise UserError(f"{error}{known}") from None

    def _others(self, pool: set[tuple[int, int]], count: int) -> list[tuple[int, int]]:
        """As many other heads, the same for the same seed whatever the order of the file."""
        if len(pool) < count:
            raise UserError(
                f"intervention {_NAME}: random={self.random} needs {count} other heads, and scores="
                f"{self.scores} has {len(pool)} that are not above threshold={self.threshold}"
            )

        def draw(place: tuple[int, int]) -> bytes:
            return hashlib.blake2b(f"{self.random}/{place[0]}.{place[1]}".encode()).digest()

        return sorted(pool, key=draw)[:count]

    def plan(self) -> Plan:
        """One edit of the heads; nothing for none of them."""
        selected = Selected(None, self.chosen())
        if selected.heads == Heads(frozenset()):
            return Plan()
        means = read_means(_NAME, self.ablation, self.table)
        queries = parse_span(_NAME, "queries", self.queries)

        def obstacle(adapter: ModelAdapter) -> str | None:
            return unfit(adapter, selected, means)

        return Plan(
            attention=(ablated(self.ablation, selected, queries, means),), requirements=(obstacle,)
        )
