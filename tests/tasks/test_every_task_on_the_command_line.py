"""Every task of ours, typed: the real command line of each harness it is registered in, offline.

The tests of single benchmarks look at the numbers; this one leaves no task out. One process runs
many tasks on the stand-in data, with a model that can take them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lmms_causal.tasks import HARNESSES, catalogue, roots
from lmms_causal.tasks.causal_vqa import data
from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow

TEXT = ("centerbench", "judge_pairs", "multi_doc_qa", "ocw")
"""Benchmarks whose prompts are longer than the bundled model's 512 positions allow."""
VIDEO = ("vcrbench_causal",)
ELSEWHERE = ("amber_generative_official", "amber_generative_official_blind")
"""Need models of others; see tests/tasks/amber."""


def _output_type(path: Path) -> str | None:
    """What a task file, or one that it includes, sets as ``output_type``."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: node.value)
    keys = yaml.load(path.read_text(encoding="utf-8"), loader)
    includes = keys.get("include", [])
    files = [includes] if isinstance(includes, str) else includes
    included = [_output_type(path.with_name(file)) for file in files]
    return keys.get("output_type") or next(filter(None, included), None)


def _runs() -> dict[str, list[str]]:
    """``HARNESS-KIND``: the tasks that one process runs."""
    runs: dict[str, list[str]] = {}
    for harness in HARNESSES:
        for path in sorted(roots(harness).glob("*/[!_]*.yaml")):
            if catalogue.members(path.stem) != (path.stem,) or path.stem in ELSEWHERE:
                continue
            benchmark = path.parent.name
            kind = "text" if benchmark in TEXT or benchmark in VIDEO else "pictures"
            if harness == "lmms-eval":
                kind = "video" if benchmark in VIDEO else kind
                kind = "choices" if _output_type(path) == "multiple_choice" else kind
            runs.setdefault(f"{harness}-{kind}", []).append(path.stem)
    return runs


RUNS = _runs()

#: Before anything else in the process: the stand-in's checksums are not the release's.
STAND_IN = """
from pathlib import Path
from lmms_causal.tasks.causal_vqa import data
from lmms_causal.testing.command_line import typed
data.MANIFEST = Path({manifest!r})
"""


def test_no_task_is_left_out() -> None:
    for harness in HARNESSES:
        names = {name for name in catalogue.names(harness) if catalogue.members(name) == (name,)}
        run = [name for key, tasks in RUNS.items() if key.startswith(harness) for name in tasks]
        assert sorted([*run, *(names & set(ELSEWHERE))]) == sorted(names)


def _command(run: str, saved: Callable[[str], str]) -> list[str]:
    model = {"text": "qwen2", "video": "qwen2_5_vl"}.get(run.rpartition("-")[2])
    arguments = f"pretrained={saved(model) if model else 'lmms-causal/tiny-llava'}"
    if run.startswith("lm-eval"):
        kind = "causal" if model else "causal-multimodal"
        command = ["lmms-causal", "lm-eval", "run", "--model", kind]
        return [*command, "--apply_chat_template", "--model_args", arguments]
    arguments += ",num_frames=12" if run.endswith("video") else ""
    forced = ["--force_simple"] if run.endswith("choices") else []
    return ["lmms-eval", "--model", "causal", "--model_args", arguments, *forced]


@pytest.mark.parametrize("run", RUNS)
def test_a_task_typed_is_run_and_scored(
    run: str,
    tmp_path: Path,
    saved: Callable[[str], str],
    tiny_release: SimpleNamespace,
    tiny_pairs: Path,
    tiny_questions: Path,
    tiny_mme_cc: SimpleNamespace,  # its judge is replaced by that of the companions
    tiny_centers: Path,
    tiny_mucr: Path,
    tiny_companions: SimpleNamespace,
    tiny_videos: Path,
    tiny_walls: Path,
) -> None:
    tasks = RUNS[run]
    limit = "max_gen_toks=2" if run.startswith("lm-eval") else "max_new_tokens=2"
    done = typed(
        *(*_command(run, saved), "--tasks", ",".join(tasks), "--limit", "2"),
        *("--gen_kwargs", limit, "--log_samples", "--output_path", str(tmp_path / "out")),
        prelude=STAND_IN.format(manifest=str(data.MANIFEST)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "out").rglob("*results*.json")
    results = json.loads(file.read_text())["results"]
    assert set(results) >= set(tasks)
    for task in tasks:
        scores = [value for key, value in results[task].items() if "_score,none" in key]
        assert scores and isinstance(scores[0], float), (task, results[task])
        pattern = f"*_samples_{task}.jsonl" if run.startswith("lmms") else f"samples_{task}_20*"
        (samples,) = (tmp_path / "out").rglob(pattern)
        assert len(samples.read_text().splitlines()) == 2
