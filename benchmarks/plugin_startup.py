"""What having us installed costs somebody who runs ``lmms-eval models``: goal under 50 ms.

The command is timed as a whole process, with our entry point and with it hidden, in turn.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from reporting import Measured, parser, report

WITH = (
    "import sys; sys.argv = ['lmms-eval', 'models']\n"
    "from lmms_eval.cli.dispatch import main\n"
    "main()"
)
HIDE = (
    "import importlib.metadata as m\n"
    "original = m.entry_points\n"
    "class Hidden:\n"
    "    def select(self, **k):\n"
    "        return [e for e in original().select(**k) if e.name != 'lmms_causal']\n"
    "m.entry_points = lambda **k: Hidden().select(**k) if k else Hidden()\n"
)


def timed(code: str) -> float:
    """Run code in a fresh interpreter; seconds of the whole process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    return seconds


def listed(code: str) -> bool:
    """Whether our model is in the listing that the code prints."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    return any(line.split()[:1] == ["causal"] for line in out.splitlines())


def main() -> int:
    """Check, measure, report."""
    given = parser(__doc__).parse_args()
    assert listed(WITH), "causal is not listed"
    assert not listed(HIDE + WITH), "the entry point is not hidden"
    pairs = [(timed(WITH), timed(HIDE + WITH)) for _ in range(15 if given.quick else 60)]
    extra = statistics.median(ours - theirs for ours, theirs in pairs) * 1000
    plain = statistics.median(theirs for _, theirs in pairs) * 1000
    return report(
        [
            Measured("lmms-eval models, without us", plain, "ms"),
            Measured("lmms-eval models, added by us", extra, "ms", "<= 50"),
        ],
        given.json,
    )


if __name__ == "__main__":
    raise SystemExit(main())
