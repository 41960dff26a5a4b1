"""Compare evaluation runs document by document: is B better than A, by how much, at what cost?

`read_run` reads a run of either harness, `compare` pairs and tests, `report` prints. The
statistics are pure functions in `lmms_causal.compare.statistics`. Names are imported when used:
the command line loads this package to offer ``compare`` and must not wait for SciPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmms_causal.compare.checks import Check
    from lmms_causal.compare.comparison import Comparison, compare
    from lmms_causal.compare.documents import DocumentPair, Flip
    from lmms_causal.compare.read import read_run
    from lmms_causal.compare.records import Cost, Run, Sample, Task
    from lmms_causal.compare.rows import Equivalence, Options, Row

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
    "Check": "checks",
    "Comparison": "comparison",
    "compare": "comparison",
    "DocumentPair": "documents",
    "Flip": "documents",
    "read_run": "read",
    "Equivalence": "rows",
    "Options": "rows",
    "Row": "rows",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'records')}"), name)
