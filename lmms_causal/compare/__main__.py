"""``python -m lmms_causal.compare RUN_A RUN_B``."""

from __future__ import annotations

import sys

from lmms_causal.compare.command import run_command

if __name__ == "__main__":
    sys.exit(run_command())
