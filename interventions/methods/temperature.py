"""Temperature: a control that makes the distribution sharper or flatter and does nothing else.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599, for scaling by
a temperature. As a control for contrastive decoding the use of it is ours.

Equations
---------
With ``l`` the factual logits, decoding and scoring use

    l / value

A contrast ``(1 + a) l - a c`` also sharpens: with ``c`` constant it is ``l / (1 / (1 + a))``. What
a method gains over ``temperature(value=...)`` with ``value = 1 / (1 + a)`` is not due to sharpness.
Named with other methods (``vcd+temperature(value=0.5)``) it divides the combined logits, once the
plausible tokens have been found under the factual ones.

Cost
----
None.

Paper and code
--------------
The caller's own temperature, if it samples, divides once more. Greedy answers stay as they are,
and so does the choice among answers of one token; beams, sampling and the comparison of answers of
several tokens change.

Published
---------
None as an intervention.

Unverified
----------
Nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.ranges import check_positive
from lmms_causal.interventions.registry import method

__all__ = ["Temperature"]


@method
@dataclass(frozen=True)
class Temperature:
    """Parameters of the temperature control.

    Attributes:
        value: what logits are divided by; below 1 sharper, above 1 flatter, 1 off.
    """

    value: float = 0.5

    def __post_init__(self) -> None:
        check_positive(self, "value")

    def plan(self) -> Plan:
        """One division; nothing at 1."""
        return Plan() if self.value == 1 else Plan(temperature=self.value)
