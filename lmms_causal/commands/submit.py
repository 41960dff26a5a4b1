"""``lmms-causal submit``: bundles of a run for the places that collect results."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["add_parser"]

_EPILOG = """\
Nothing is sent: the folder holds what a person sends, checked, with all that is needed to repeat
the run. A run with --limit is refused, and so is one that does not say under which interventions it
was made, or whose results and samples do not fit each other. Numbers made under an intervention
name it wherever they stand.

  rerun/               command and manifest: versions, spec, seeds, hashes of all files
  hub/.eval_results/   for a pull request to the model's repository (--hub-benchmark)
  every_eval_ever/     a record for the data store of Every Eval Ever (--organization)
  README.md            what is there, and the harness's own arguments for a push to the Hub

examples:
  lmms-causal submit runs/vcd --output bundle \\
      --hub-benchmark 'mme:mme_perception_score=ORGANISATION/DATASET:TASK_ID'
  lmms-causal submit runs/vcd --output bundle --organization 'Our group' --samples
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "submit",
        help="write checked bundles of a run for the Hub and Every Eval Ever",
        description="Bundle a finished run for the places that collect results.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run_path", metavar="RUN", type=Path, help="a results file, or the folder of one run")
    add("--output", metavar="DIR", type=Path, required=True, help="folder to make")
    add("--model-id", metavar="ORG/NAME", help="name on the Hub, if the model is a folder")
    add(
        "--hub-benchmark",
        metavar="TASK[:METRIC]=ORG/DATASET:TASK_ID[@REVISION]",
        action="append",
        default=[],
        help="a number for the Hub: which of the run, and which of the data set's eval.yaml",
    )
    add("--source-url", metavar="URL", help="where the files of the run can be seen")
    add("--hub-org", metavar="ORG", help="for the harness's push, in README.md")
    add("--organization", metavar="NAME", help="who evaluated; makes the record of Every Eval Ever")
    add(
        "--relationship",
        choices=("third_party", "first_party", "collaborative", "other"),
        default="third_party",
        help="of who evaluated to who made the model (default: third_party)",
    )
    add("--open-weights", action="store_true", help="say that the model's weights are open")
    add("--samples", action="store_true", help="add questions and answers (mind their licence)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Here, not above: adding the sub-command must not cost the start of the Hub's client.
    from lmms_causal.submit.bundle import write_bundle
    from lmms_causal.submit.every_eval_ever import Evaluator
    from lmms_causal.submit.evidence import read_evidence
    from lmms_causal.submit.hub import read_benchmark

    if not arguments.organization and (arguments.samples or arguments.open_weights):
        raise UserError("--samples and --open-weights belong to a record; add --organization NAME")
    if arguments.output.exists():
        raise UserError(f"--output {arguments.output}: exists; name a new folder")
    url = arguments.source_url
    if url and not url.startswith(("https://", "http://")):
        raise UserError(f"--source-url {url}: an address that begins with https:// is expected")
    if arguments.hub_org and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", arguments.hub_org):
        raise UserError(f"--hub-org {arguments.hub_org}: a name on the Hub is expected")
    benchmarks = [read_benchmark(text) for text in arguments.hub_benchmark]
    evidence = read_evidence(arguments.run_path, arguments.model_id)
    parts = write_bundle(
        evidence,
        arguments.output,
        now=time.time(),
        benchmarks=benchmarks,
        source_url=url,
        by=Evaluator(arguments.organization, arguments.relationship, arguments.open_weights)
        if arguments.organization
        else None,
        with_samples=arguments.samples,
        hub_organisation=arguments.hub_org,
    )
    print(f"{evidence.model_id}, {evidence.intervention or 'plain model'}: {arguments.output}")
    print(*(f"  {part}" for part in parts), sep="\n")
    if not benchmarks:
        print("  no file for the Hub: name its benchmark with --hub-benchmark")
    if not arguments.organization:
        print("  no record for Every Eval Ever: name who evaluated with --organization")
    return 0
