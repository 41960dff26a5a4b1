"""Position-invariant inference: the order in which options or documents are listed has no effect.

Wang et al., "Eliminating Position Bias of Language Models: A Mechanistic Approach" (PINE), ICLR
2025, arXiv 2407.01100; code wzq016/PINE, for Llama and Qwen2 at batch 1.

Equations
---------
A prompt is ``prefix, D_1 ... D_k, suffix``. In every layer and head, segments see each other fully,
and to each query they are placed by importance, the most important closest to it. With ``q0, k0``
before rotation and a softmax over the segments' keys ``w_j = softmax(q0 k0_j / sqrt d)``, the
importance of segment ``c`` to a query is the mean of ``w_j`` over its ``l_c`` tokens; queries in a
segment rank the others by the sum over all its tokens, their own being closest. With ``E`` the
position behind the segments::

    position of token t of D_c  =  E - l_c + t - (lengths of the segments ranked before it)
    position of a query         =  E - l_a + t in segment a,  its own behind the segments

Answers, generated and scored, do not depend on the order of the segments. The rotated keys of an
ordinary cache are used as they are: instead of the keys of a segment, the query is turned, once a
segment, and the parts are merged by their log-sum-exp, which is the same to rounding.

Cost
----
In the prompt's pass attention among segments is not causal, and importance takes a further product
of queries and keys. A decoding step turns its query once a segment. Prompts are read in one piece.

Segments are declared by the task, in a document's field ``segments``, by marks in the text, or with
the model argument ``segment_regex``; each is tokenised apart from its neighbours. There may be
several groups, and segments may hold pictures. Lengths are counted in positions, so that a picture
on several axes (M-RoPE) takes the room that it takes in the model.

If option letters are part of the segments, the order of options has no effect but the letters still
do: ``A. x, B. y`` and ``B. y, A. x`` are one, ``A. y, B. x`` is another prompt.

Paper and code
--------------
``order=importance`` with ``visible=mutual`` is the paper. Its comparisons are ``order=sequential``
with ``visible=mutual`` (no re-assignment), ``order=reverse`` (least important closest),
``order=sequential`` with ``visible=own`` (NIA) and ``order=stacked`` with ``visible=own`` (PCW).
The code keeps keys before rotation and rotates them anew for every query. Several groups, batches,
windows (in the positions assigned) and pictures are ours.

Ties in importance keep the order of the prompt in the code. They are not rare: in the first layer,
segments of the same words in another order tie. Here they go by the segments' tokens, so that the
order has no effect there either; equal segments are exchangeable anyway. What is left is rounding
where importances are nearly, but not nearly enough, equal.

Published
---------
RewardBench, accuracy, vanilla with answers shuffled to PINE, Reasoning / full set, greedy:
Llama-3-8B-Instruct 65.3 to 73.4 / 64.8 to 66.7; Llama-3-70B-Instruct 78.9 to 87.6 / 76.0 to 77.4;
Qwen1.5-7B-Chat 59.3 to 63.0 / 60.9 to 61.5; Qwen1.5-72B-Chat 68.2 to 69.0 / 72.8 to 71.8;
Qwen2.5-72B-Instruct 85.5 to 91.3 / 83.4 to 84.5. Comparisons with Llama-3-8B: NIA 55.9 / 61.9, PCW
56.5 / 61.7, mean over permutations 69.0 / 65.9. NQ-open, mean against vanilla: +1.2 with 10
documents, -2.0 with 20 (Llama-3-70B). Time about 2 times with two segments, 8 times with 20.

Unverified
----------
The exact weighting of a further comparison, SP, which is therefore not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmms_causal.interventions.adapter.rotary import rotary_obstacle
from lmms_causal.interventions.attention.edits import AttentionEdit, Segments
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["PINE"]


@method
@dataclass(frozen=True)
class PINE:
    """Parameters of position-invariant inference.

    Attributes:
        order: how segments are placed before a query: by ``importance``, most important closest;
            in ``reverse``; ``sequential``, as they are written; ``stacked``, all at one place.
        visible: ``mutual`` lets segments see each other, ``own`` each only itself.
    """

    order: Literal["importance", "reverse", "sequential", "stacked"] = "importance"
    visible: Literal["mutual", "own"] = "mutual"

    def plan(self) -> Plan:
        """One edit of all layers, of the factual pass and of all branches."""
        edit = AttentionEdit(Segments(self.order, self.visible), everywhere=True)
        return Plan(attention=(edit,), requirements=(rotary_obstacle,))
