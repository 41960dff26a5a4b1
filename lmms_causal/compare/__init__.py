"""Compare evaluation runs document by document: is B better than A, by how much, at what cost?

`read_run` reads a run of either harness, `compare` pairs and tests, `report` prints. The
statistics are pure functions in `lmms_causal.compare.statistics`.
"""

from __future__ import annotations

from lmms_causal.compare.comparison import Comparison, compare
from lmms_causal.compare.read import read_run
from lmms_causal.compare.records import Cost, Run, Sample, Task
from lmms_causal.compare.rows import Options, Row

__all__ = ["Comparison", "Cost", "Options", "Row", "Run", "Sample", "Task", "compare", "read_run"]
