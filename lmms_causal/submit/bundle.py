"""Write a bundle into a folder, then read it back and check it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.submit.every_eval_ever import Evaluator, record, record_path
from lmms_causal.submit.evidence import Evidence
from lmms_causal.submit.hub import Benchmark, check_hub_file, described, hub_file
from lmms_causal.submit.instances import is_conversation, samples
from lmms_causal.submit.rerun import manifest, readme, script
from lmms_causal.submit.schema import check_log, check_sample

__all__ = ["check_bundle", "write_bundle"]

_HUB, _STORE = Path("hub", ".eval_results"), Path("every_eval_ever")


def write_bundle(
    evidence: Evidence,
    folder: Path,
    *,
    now: float,
    benchmarks: Sequence[Benchmark] = (),
    source_url: str | None = None,
    by: Evaluator | None = None,
    with_samples: bool = False,
    hub_organisation: str | None = None,
) -> list[str]:
    """Write the bundle; it appears as a whole or not at all.

    Args:
        evidence: the run.
        folder: to be made; must not exist.
        now: seconds since 1970.
        benchmarks: numbers for the Hub; none: no file for it.
        source_url: where the run's files can be seen.
        by: who evaluated, for Every Eval Ever; None: no record for it.
        with_samples: put questions and answers into that record's samples file.
        hub_organisation: for the harness's push; a placeholder without it.

    Returns:
        What is in the bundle, a line each.

    Raises:
        UserError: the folder exists, a task or metric does not, or a part is not valid.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists; name a new folder with --output")
    parts: list[str] = []
    left_out: list[str] = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".submission-") as made:
            root = Path(made, "bundle")
            _write(root / "rerun" / "manifest.json", _json(manifest(evidence)))
            _write(root / "rerun" / "run.sh", script(evidence))
            parts.append("`rerun/`: command and manifest")
            if benchmarks:
                name, text = hub_file(evidence, benchmarks, source_url)
                _write(root / _HUB / name, text)
                parts.append(
                    f"`{_HUB / name}`: for a pull request to {evidence.model_id} on the Hub; "
                    + "; ".join(described(text))
                )
            if by is not None:
                left_out = _store(evidence, by, root / _STORE, now, with_samples)
                parts.append(f"`{_STORE}/`: a record for the data store of Every Eval Ever")
            text = readme(evidence, parts, left_out, hub_organisation or "ORGANISATION")
            _write(root / "README.md", text)
            check_bundle(root, evidence.intervention)
            os.rename(root, folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    return parts


def check_bundle(folder: Path, intervention: str) -> None:
    """Read a bundle back: forms, hashes, and the intervention's name in every part.

    Raises:
        UserError: what is wrong.
    """
    recorded = json.loads((folder / "rerun" / "manifest.json").read_text(encoding="utf-8"))
    if (recorded["intervention"] or "") != intervention:
        raise UserError(f"{folder}: the manifest names another intervention")
    for file in sorted((folder / _HUB).glob("*.yaml")):
        check_hub_file(file.read_text(encoding="utf-8"), intervention)
    store = folder / _STORE
    for file in sorted(store.rglob("*.json")):
        log = json.loads(file.read_text(encoding="utf-8"))
        check_log(log, intervention)
        detailed = log.get("detailed_evaluation_results")
        if detailed is None:
            continue
        content = (store / detailed["file_path"]).read_bytes()
        rows = content.decode().splitlines()
        if (
            hashlib.sha256(content).hexdigest() != detailed["checksum"]
            or len(rows) != detailed["total_rows"]
        ):
            raise UserError(f"{file}: the samples file is not the one that was written")
        for row in rows:
            check_sample(json.loads(row), log)


def _store(
    evidence: Evidence, by: Evaluator, root: Path, now: float, with_samples: bool
) -> list[str]:
    log, left_out = record(evidence, by, now)
    path = record_path(evidence)
    if with_samples:
        left_out += [
            f"{name}: its samples (a conversation, of which the harness records the end)"
            for name, task in evidence.tasks().items()
            if is_conversation(task)
        ]
        rows = [json.dumps(row, ensure_ascii=False) for row in samples(evidence, log)]
        if rows:
            content = "".join(f"{row}\n" for row in rows)
            file = f"{path}_samples.jsonl"
            _write(root / file, content)
            log["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": file,
                "hash_algorithm": "sha256",
                "checksum": hashlib.sha256(content.encode()).hexdigest(),
                "total_rows": len(rows),
            }
    _write(root / f"{path}.json", _json(log))
    return left_out


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
