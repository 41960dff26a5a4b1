"""``make demo``: the project's main job on the bundled model, through the real command lines.

Evaluates ``causal_vqa_mini`` twice with lmms-eval, without and with an intervention, and compares
the two runs document by document.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lmms_causal import tiny_llava

__all__ = ["main"]

INTERVENTION = "vcd(alpha=1.0;beta=0.1;noise_step=999)"


def main() -> int:
    """Run the demo; returns the first failing command's exit code, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/demo"))
    parser.add_argument("--interventions", default=INTERVENTION)
    parser.add_argument("--limit", type=int, help="documents per task (default: all)")
    given = parser.parse_args()

    plain, intervened = given.output / "plain", given.output / "intervened"
    for folder in (plain, intervened):  # of an earlier demo; whatever else is there is not ours
        shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    for folder, spec in ((plain, "none"), (intervened, given.interventions)):
        limit = ["--limit", str(given.limit)] if given.limit else []
        command = ["lmms-eval", "--model", "causal", "--tasks", "causal_vqa_mini"]
        command += ["--model_args", f"pretrained={tiny_llava.NAME},interventions={spec}"]
        command += ["--batch_size", "50", "--log_samples", "--output_path", str(folder), *limit]
        code = _run(command, given.output / f"{folder.name}.log")
        if code:
            return code
    rows = ["--metrics", "causal_score", "--by", "stratum"]
    code = _run(["lmms-causal", "compare", str(plain), str(intervened), *rows])
    print(f"\ndone in {time.perf_counter() - start:.0f} s; both runs are in {given.output}")
    return code


def _run(command: list[str], log: Path | None = None) -> int:
    """Show a command and run it with this environment's programs; on failure show its output."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    program = Path(sys.executable).with_name(command[0])
    environment = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **os.environ}
    arguments = [str(program), *command[1:]]
    if log is None:
        return subprocess.run(arguments, env=environment).returncode
    print(f"(its output goes to {log})", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        code = subprocess.run(
            arguments, env=environment, stdout=stream, stderr=subprocess.STDOUT
        ).returncode
    if code:
        print(log.read_text()[-4000:], file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
