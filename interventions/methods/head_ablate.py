"""Head ablation: take attention heads out, and see what the answer owes to them.

The usual definitions of mechanistic interpretability; the naming of what is done follows them.
Heads are counted in the decoder; vision encoders are not touched.

Equations
---------
With ``o[l,h,i]`` the output of query head ``h`` of layer ``l`` at token ``i``, before the output
projection mixes the heads, and for the heads and tokens named::

    zero       o = 0
    mean       o = the mean output of this head over tokens of other prompts
    uniform    o = the mean of the values that the token may see, its own included

``zero`` is the same as zeroed columns of the output projection, and as weights that are all 0. A
mean over one prompt is ablation by resampling: the head puts out what it put out there.

Cost
----
None for zero and mean: one product or one choice a layer. Uniform computes explicit weights for the
heads and tokens named.

Means are a file, named with the digest of its content, and are measured with
``lmms_causal.interventions.attention.tables``: ``head_means(model, processor, batches, queries)``
gives a table, of which ``save(path)`` returns the text for ``table=``. Measure them over tokens
like those that are ablated: the span is a parameter of both.

Paper and code
--------------
Heads are cut out of what goes into the output projection. The helper of the Thought Anchors code
(arXiv 2506.19143) reshapes what comes out of it into heads, which it is not; its results for single
heads are not those of an ablation, and are not reproduced here. With grouped keys and values, heads
are query heads: others of their group stay. Without tokens named, heads are ablated at every token
of prompt and answer, cached or not.

Published
---------
Nothing by this name; for heads chosen by a score see retrieval_heads.

Unverified
----------
Nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.ablation import Ablation, ablated, read_means, unfit
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.attention.spans import parse_span
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["HeadAblate"]


@method
@dataclass(frozen=True)
class HeadAblate:
    """Parameters of head ablation.

    Attributes:
        heads: query heads, as ``layer.head`` such as ``12.3|14.0-2``, as ``0|3-5`` in every layer,
            or ``all``; both are counted from 0.
        ablation: what becomes of them: ``zero``, ``mean`` (of a table) or ``uniform``.
        queries: the tokens at which they are ablated: ``all``, or a span such as ``predicting``,
            ``prompt``, ``generated``, ``image``.
        layers: the layers meant, such as ``8-15``, where heads are named in every layer; None for
            all.
        table: for ``mean``, a file of mean outputs with its digest, ``FILE#DIGEST``.
    """

    example: ClassVar[str] = "head_ablate(heads=0.1|1.2-3)"

    heads: str
    ablation: Ablation = "zero"
    queries: str = "all"
    layers: str | None = None
    table: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", self.heads.replace(",", "|"))
        self._selected()
        parse_span("head_ablate", "queries", self.queries)
        read_means("head_ablate", self.ablation, self.table)

    def _selected(self) -> Selected:
        return Selected.named("head_ablate", self.layers, self.heads)

    def plan(self) -> Plan:
        """One edit of the heads."""
        heads = self._selected()
        means = read_means("head_ablate", self.ablation, self.table)
        queries = parse_span("head_ablate", "queries", self.queries)

        def obstacle(adapter: ModelAdapter) -> str | None:
            return unfit(adapter, heads, means)

        return Plan(
            attention=(ablated(self.ablation, heads, queries, means),), requirements=(obstacle,)
        )
