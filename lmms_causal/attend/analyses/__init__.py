"""Analyses by name; each file has one."""

from __future__ import annotations

from collections.abc import Sequence

from lmms_causal.attend.analyses.divergence import Divergence
from lmms_causal.attend.analyses.heat import Heat
from lmms_causal.attend.analyses.importance import SentenceImportance
from lmms_causal.attend.analyses.masses import PartMasses
from lmms_causal.attend.analyses.receiver import ReceiverHeads
from lmms_causal.attend.analyses.retrieval import Retrieval
from lmms_causal.attend.analyses.rhythm import Rhythm
from lmms_causal.attend.analyses.sinks import Sinks
from lmms_causal.attend.analyses.suppression import Suppression
from lmms_causal.attend.findings import Analysis
from lmms_causal.errors import UserError, nearest

__all__ = ["ANALYSES", "chosen"]

ANALYSES: dict[str, Analysis] = {
    "masses": PartMasses(),
    "heat": Heat(),
    "sinks": Sinks(),
    "receiver": ReceiverHeads(),
    "rhythm": Rhythm(),
    "retrieval": Retrieval(),
    "divergence": Divergence(),
    "suppression": Suppression(),
    "importance": SentenceImportance(),
}


def chosen(names: Sequence[str]) -> dict[str, Analysis]:
    """Return the analyses of some names.

    Raises:
        UserError: there is none of a name.
    """
    for name in names:
        if name not in ANALYSES:
            raise UserError(
                f"--statistics {name}: unknown{nearest(name, ANALYSES)}; known are "
                f"{', '.join(ANALYSES)}"
            )
    return {name: ANALYSES[name] for name in dict.fromkeys(names)}
