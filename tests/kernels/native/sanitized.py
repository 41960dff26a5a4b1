"""Runs all calls of ``native_calls`` by one library: ``sanitized.py LIBRARY LEVEL``.

``test_sanitizers.py`` starts it with a library compiled with sanitizers, which end the process at
the first thing they find.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

import native_calls
import torch

from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.native.loading import Library, _openmp

torch.set_num_threads(2)
assert _openmp()
library = Library(Path(sys.argv[1]), int(sys.argv[2]), threads=True)
cpu._library = lambda: library
done = 0
for dtype in native_calls.TYPES.values():
    for given in native_calls.calls(dtype):
        native_calls.check(given)
        done += 1
print(done, "calls,", len(native_calls.fuzz(library, 300, seed=1)), "spoiled ones")
