"""What is needed to repeat a run: command, manifest with hashes, and how to send things."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lmms_causal.compare.reading.locate import samples_file
from lmms_causal.submit.evidence import Evidence

__all__ = ["hub_log_arguments", "manifest", "readme", "script"]

_PACKAGES = ("lmms-causal", "lmms-eval", "lm-eval", "transformers", "torch", "datasets")


def manifest(evidence: Evidence) -> dict[str, Any]:
    """Everything that decides the numbers, and the hashes of the files they are in."""
    run, data = evidence.run, evidence.data
    files = [run.path, *filter(None, (samples_file(run.path, one) for one in evidence.tasks()))]
    return {
        "model": evidence.model_id,
        "pretrained": run.model_args.get("pretrained"),
        "revision": run.model_args.get("revision", "main"),
        "commit": evidence.commit or None,
        "intervention": evidence.intervention or None,
        "harness": run.harness,
        "harness_version": evidence.harness_version,
        "recorded_harness_version": run.harness_version,
        "lmms_causal_version": run.causal_version,
        "date": run.date,
        "seeds": run.settings.get("seeds"),
        "tasks": {
            name: {
                "version": task.version,
                "hash": (data.get("task_hashes") or {}).get(name),
                "documents": max((len(rows) for rows in task.samples.values()), default=0),
            }
            for name, task in evidence.tasks().items()
        },
        "command": list(evidence.command),
        "files": {file.name: _sha256(file) for file in files},
        # Harness files name few versions; these are of the machine that made this bundle.
        "versions_at_submission": {"python": platform.python_version(), **_versions()},
    }


def script(evidence: Evidence) -> str:
    """A shell script that repeats the run into ``results/``."""
    command = shlex.join([*evidence.command, "--output_path", "results"])
    # On one line: what a results file says must not become a command of its own.
    made = " ".join((evidence.intervention or "none (plain model)").split())
    return f"#!/bin/sh\n# Model: {evidence.model_id}. Intervention: {made}.\n{command}\n"


def hub_log_arguments(evidence: Evidence, organisation: str) -> str:
    """For ``--hf_hub_log_args``: repositories named after the setting, so that a run with an
    intervention does not land among those of the plain model (both harnesses name things after the
    checkpoint alone)."""
    # The Hub takes 96 characters: 36 at most are added here and by the harness ("-private").
    model = evidence.model_id.replace("/", "__")[:60].rstrip("-._")
    kind = f"intervened-{evidence.digest}" if evidence.intervention else "plain"
    return (
        f"hub_results_org={organisation},details_repo_name={model}-{kind}-details,"
        f"results_repo_name={model}-{kind}-results,push_results_to_hub=True,"
        "push_samples_to_hub=True,public_repo=False"
    )


def readme(
    evidence: Evidence, parts: Sequence[str], left_out: Sequence[str], organisation: str
) -> str:
    """The bundle's own page."""
    made = (
        f"Made under the intervention `{evidence.intervention}`. None of these numbers is one of "
        "the plain model."
        if evidence.intervention
        else "Made with the plain model, without an intervention."
    )
    push = [*evidence.command, "--output_path", "results", "--hf_hub_log_args"]
    push.append(hub_log_arguments(evidence, organisation))
    lines = [
        f"# {evidence.model_id}: {', '.join(evidence.tasks())}",
        "",
        made,
        "",
        *(f"* {part}" for part in parts),
    ]
    if any("every_eval_ever/" in part for part in parts):
        lines += [
            "",
            "Before you send the record, with the package every-eval-ever (Python 3.12):",
            "",
            "    cd every_eval_ever && every_eval_ever validate 'data/*/*/*/*'",
        ]
    if left_out:
        lines += ["", "Left out:", "", *(f"* {one}" for one in left_out)]
    lines += [
        "",
        "## Repeat",
        "",
        "`sh rerun/run.sh`; `rerun/manifest.json` has versions, seeds and the hashes of all files.",
        "",
        "## Repeat and push with the harness",
        "",
        "    " + shlex.join(push),
        "",
        "It needs a token in `HF_TOKEN`. With `public_repo=False` the harness adds `-private` to",
        "the names of the repositories.",
    ]
    return "\n".join(lines) + "\n"


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
