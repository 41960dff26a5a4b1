"""Compare evaluation runs document by document: is B better than A, by how much, at what cost?

`read_run` reads a run of either harness (`reading`), `compare` pairs documents (`pairing`) and
tests (`rows`, by the pure functions of `inference`), `output` prints. `records` is what they speak
of. Names are imported when used: the command line loads this package to offer ``compare`` and must
not wait for SciPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmms_causal.compare.comparison import Comparison, compare
    from lmms_causal.compare.pairing.checks import Check
    from lmms_causal.compare.pairing.documents import DocumentPair, Flip
    from lmms_causal.compare.reading.read import read_run
    from lmms_causal.compare.records import Cost, Run, Sample, Task
    from lmms_causal.compare.rows.row import Equivalence, Options, Row

__all__ = [
    "Check",
    "Comparison",
    "Cost",
    "DocumentPair",
    "Equivalence",
    "Flip",
    "Options",
    "Row",
    "Run",
    "Sample",
    "Task",
    "compare",
    "read_run",
]

_HOME = {
    "Check": "pairing.checks",
    "Comparison": "comparison",
    "compare": "comparison",
    "DocumentPair": "pairing.documents",
    "Flip": "pairing.documents",
    "read_run": "reading.read",
    "Equivalence": "rows.row",
    "Options": "rows.row",
    "Row": "rows.row",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'records')}"), name)
