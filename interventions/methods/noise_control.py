"""Noise control: put a random direction of equal length in place of what other methods add.

A control of our own, without a paper: does a method help because of *what* it adds to the logits,
or would any change of this size do?

Equations
---------
With ``d`` the sum of all increments and ``K`` the tokens that all methods allow, at each position,

    l + r,    r = |d - mean d| / |n - mean n| (n - mean n) on K,    n ~ N(0, 1)

Means and lengths are over ``K``, because a constant changes no probability. The draw ``n`` is one
a document: all its positions, and all answers that are scored for it, meet the same direction. The
sets of allowed tokens are those of the controlled methods; a temperature still divides the result.

Cost
----
That of the methods it controls: their branches are run to learn the length.

Paper and code
--------------
Name it with the methods to be controlled, as in ``vcd+noise_control``. Steering and rewritten
questions are not increments and stay as they are. Average over several seeds.

Published
---------
None.

Unverified
----------
Nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmms_causal.interventions.plan import Control, Plan
from lmms_causal.interventions.registry import method

__all__ = ["NoiseControl"]


@method
@dataclass(frozen=True)
class NoiseControl:
    """Parameters of the noise control.

    Attributes:
        seed: global seed of the directions, which otherwise depend on the document only.
    """

    example: ClassVar[str] = "vcd+noise_control"

    seed: int = 0

    def plan(self) -> Plan:
        """Randomise the increments of the other methods."""
        return Plan(control=Control("noise_control", seed=self.seed))
