"""What a submission says, read from a run; and what must not be submitted."""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lmms_causal import tiny_llava
from lmms_causal.compare.reading.locate import load_results
from lmms_causal.compare.reading.read import read_run
from lmms_causal.compare.records import LMMS_EVAL, Run, Task, number
from lmms_causal.errors import UserError
from lmms_causal.submit.integrity import require_integrity

__all__ = ["Evidence", "read_evidence"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CHANGES = ("adapter", "peft", "delta", "steer_path", "lora_local_path")
"""Model arguments that make another model of a checkpoint."""

_CARRIED_OUT = re.compile(r"vcrbench_rrd(_sequential)?(_video)?")
"""Tasks of this package that hold the conversation of a method (RRD) with whatever model."""

_REPEATED = (
    "model",
    "model_args",
    "tasks",
    "num_fewshot",
    "batch_size",
    "gen_kwargs",
    "seed",
    "system_instruction",
    "reasoning_tags",
    "include_path",
    "repeats",
)
_SWITCHES = ("force_simple", "apply_chat_template", "fewshot_as_multiturn", "process_with_media")
"""Options of lmms-eval that decide answers, as its results file records them."""


@dataclass(frozen=True)
class Evidence:
    """A run, complete and with known interventions.

    Attributes:
        run: as read for comparison.
        data: the results file.
        model_id: ``ORGANISATION/NAME`` under which results are filed.
        intervention: canonical spec, and anything else that makes another model; "" for the plain
            model.
        command: words of the command line that repeats the run.
        commit: of the checkpoint, if the run or the local cache tells; "" otherwise.
    """

    run: Run
    data: Mapping[str, Any]
    model_id: str
    intervention: str
    command: tuple[str, ...]
    commit: str = ""

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that stand for the setting: intervention and command."""
        text = f"{self.intervention}|{shlex.join(self.command)}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def date(self) -> str:
        """Day of the run, ``YYYY-MM-DD``; "" if the results file does not say."""
        return self.run.date[:10] if re.match(r"\d{4}-\d{2}-\d{2}", self.run.date) else ""

    @property
    def harness_version(self) -> str:
        """Of the harness; lmms-eval does not record its own, so that it is the one installed
        here."""
        if self.run.harness_version:
            return self.run.harness_version
        try:
            return version(self.run.harness)
        except PackageNotFoundError:
            return "unknown"

    def tasks(self) -> dict[str, Task]:
        """The run's tasks, without groups: those have no documents of their own."""
        return {name: task for name, task in self.run.tasks.items() if not task.is_group}

    def undefined(self) -> list[str]:
        """Numbers that did not come out (NaN, infinite), as ``TASK: METRIC,FILTER``."""
        return [
            f"{name}: {key}"
            for name in self.tasks()
            for key, value in self.data["results"][name].items()
            if "," in key
            and "_stderr" not in key
            and isinstance(value, float)
            and not math.isfinite(value)
        ]

    def standard_error(self, task: str, metric: str, name: str) -> float | None:
        """As the harness reports it, the clustered one if there is one."""
        results = self.data["results"][task]
        for kind in ("_stderr_clustered", "_stderr", "_stderr_clt"):
            value = results.get(f"{metric}{kind},{name}")
            found = None if isinstance(value, str) else number(value)
            if found is not None:
                return found
        return None


def read_evidence(path: Path, model_id: str | None = None) -> Evidence:
    """Read a run that is to be submitted.

    Args:
        path: a results file, or the folder of one run.
        model_id: name on the Hub, if ``pretrained`` is a folder or the bundled model.

    Raises:
        UserError: no such run; it must not be submitted (`integrity.py`); the checkpoint has no
            name on the Hub, or another one than `model_id`.
    """
    run = read_run(path)
    data = load_results(run.path)
    require_integrity(run, data)
    named = _model_id(run, model_id)
    return Evidence(
        run, data, named, _intervention(run), _command(run, data), _commit(run, data, named)
    )


def _intervention(run: Run) -> str:
    names = [name for name, task in run.tasks.items() if not task.is_group]
    carried_out = [name for name in names if _CARRIED_OUT.fullmatch(name)]
    if carried_out and carried_out != names:
        raise UserError(
            f"{run.path}: {', '.join(carried_out)} carries out a method (rrd) with the model, the "
            "other tasks do not; submit runs of one kind, each by itself"
        )
    parts = [run.interventions] if run.interventions else []
    parts += [f"rrd, carried out by task {name}" for name in carried_out]
    parts += [f"{key}={run.model_args[key]}" for key in _CHANGES if run.model_args.get(key)]
    if run.model == "steered" and not run.model_args.get("steer_path"):
        parts.append("lm-eval's model `steered`")
    return " with ".join(parts)


def _model_id(run: Run, given: str | None) -> str:
    pretrained = run.model_args.get("pretrained", "")
    on_hub = bool(_HUB_ID.fullmatch(pretrained)) and not Path(pretrained).exists()
    if given is not None:
        if not _HUB_ID.fullmatch(given):
            raise UserError(f"--model-id {given}: ORGANISATION/NAME is expected")
        if on_hub and pretrained not in (given, tiny_llava.NAME):
            raise UserError(
                f"--model-id {given}: the run is of pretrained={pretrained}, which has a name on "
                "the Hub; leave --model-id out (if that was a folder: give this command where the "
                "folder is)"
            )
        return given
    if pretrained == tiny_llava.NAME:
        raise UserError(
            f"{run.path}: the model is bundled with this package and is not on the Hub; if you "
            "have put it there, name it with --model-id ORGANISATION/NAME"
        )
    if not on_hub:
        raise UserError(
            f"{run.path}: pretrained={pretrained or '(none)'} is no model of the Hub; name the one "
            "it is with --model-id ORGANISATION/NAME"
        )
    return pretrained


def _command(run: Run, data: Mapping[str, Any]) -> tuple[str, ...]:
    config = data["config"]
    seeds = [config.get(f"{name}_seed") for name in ("random", "numpy", "torch", "fewshot")]
    seed = ",".join(str(value) for value in seeds)
    if run.harness == LMMS_EVAL:
        given = dict(config.get("resolved_cli_args") or {}) | {"seed": seed}
        given.setdefault("model", run.model)
        given.setdefault("model_args", config.get("model_args"))
        given.setdefault("tasks", ",".join(data["configs"]))
        command = ["lmms-eval"]
        for key in _REPEATED:
            value = given.get(key)
            if value not in (None, "", False) and (key, value) != ("repeats", 1):
                command += [f"--{key}", _text(value)]
        command += [f"--{key}" for key in _SWITCHES if given.get(key) is True]
        return (*command, "--log_samples")
    arguments = config.get("model_args")
    if isinstance(arguments, Mapping):
        arguments = ",".join(f"{key}={value}" for key, value in arguments.items())
    command = ["lmms-causal", "lm-eval", "run", "--model", run.model]
    command += ["--model_args", str(arguments), "--tasks", ",".join(data["configs"])]
    if config.get("batch_size"):
        command += ["--batch_size", str(config["batch_size"])]
    shots = {value for value in (data.get("n-shot") or {}).values() if value}
    if len(shots) == 1:
        command += ["--num_fewshot", str(shots.pop())]
    if config.get("gen_kwargs"):
        command += ["--gen_kwargs", _text(config["gen_kwargs"])]
    if data.get("chat_template"):
        command.append("--apply_chat_template")
    if data.get("fewshot_as_multiturn"):
        command.append("--fewshot_as_multiturn")
    if data.get("system_instruction"):
        command += ["--system_instruction", str(data["system_instruction"])]
    return (*command, "--seed", seed, "--log_samples")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return str(value)


def _commit(run: Run, data: Mapping[str, Any], model_id: str) -> str:
    recorded = data["config"].get("model_sha")
    if recorded:
        return str(recorded)
    if run.model_args.get("pretrained") != model_id:
        return ""
    from huggingface_hub import try_to_load_from_cache

    # Nothing is fetched: the folder of a cached file is named after the commit it is of.
    revision = run.model_args.get("revision", "main")
    cached = try_to_load_from_cache(model_id, "config.json", revision=revision)
    return Path(cached).parent.name if isinstance(cached, str) else ""
