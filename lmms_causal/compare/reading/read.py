"""Read a run of lmms-eval or lm-eval into the records both share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lmms_causal.compare.reading.cost import judge_calls, read_cost
from lmms_causal.compare.reading.locate import find_results_file, load_results, samples_file
from lmms_causal.compare.reading.samples import read_samples
from lmms_causal.compare.records import LM_EVAL, LMMS_EVAL, Run, Sample, Task, number
from lmms_causal.errors import UserError

_NOT_SETTINGS = frozenset(("model", "model_args", "resolved_cli_args"))

#: Our classes' names carry the canonical spec: "module.Causal[vcd(alpha=1.0;beta=0.1)] (chat)".
_BACKEND = re.compile(r"(?P<name>[\w.]+)\[(?P<spec>.*)\](?P<kind> \(\w+\))?")
_SEEDS = ("random", "numpy", "torch", "fewshot")


def read_run(path: str | Path) -> Run:
    """Read the run at `path`: a results file, or a folder that holds one run.

    Raises:
        UserError: No run, several runs, a file of another kind, or no samples files.
    """
    file = find_results_file(path)
    data = load_results(file)
    harness = _harness(data, file)
    config = data["config"]
    model_args = _parse_model_args(config.get("model_args"))
    typed = model_args.pop("interventions", "")
    canonical = config.get("lmms_causal_interventions")
    if canonical is None and (backend := _BACKEND.fullmatch(str(config.get("model_backend")))):
        canonical = backend["spec"]
    tasks = _read_tasks(data, file, harness)
    return Run(
        harness=harness,
        harness_version=_known(
            data.get("lmms_eval_version" if harness == LMMS_EVAL else "lm_eval_version")
        ),
        path=file,
        model=str(config.get("model")),
        model_args=model_args,
        interventions=_interventions(typed if canonical is None else canonical),
        causal_version=_known(config.get("lmms_causal_version")),
        date=_date(data.get("date"), _time_zone(config)),
        settings=_settings(data),
        tasks=tasks,
        cost=dataclasses.replace(read_cost(data), judge_calls=judge_calls(tasks.values())),
    )


def _harness(data: Mapping[str, Any], file: Path) -> str:
    if "lmms_eval_version" in data:
        return LMMS_EVAL
    if "lm_eval_version" in data:
        return LM_EVAL
    raise UserError(f"{file}: names neither lmms_eval_version nor lm_eval_version: which harness?")


def _known(version: Any) -> str | None:
    """The version, which is not what lmms-eval writes: git's state of where it was started."""
    return None if version in (None, "") or "@" in str(version) else str(version)


def _parse_model_args(value: Any) -> dict[str, str]:
    """Split ``key=value,key=value``; a part without "=" continues the value before it."""
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    parsed: dict[str, str] = {}
    last = None
    for part in str(value or "").split(","):
        key, equals, item = part.partition("=")
        if equals:
            last = key.strip()
            parsed[last] = item.strip()
        elif last is not None and part:
            parsed[last] += f",{part}"
    return parsed


def _interventions(text: Any) -> str:
    """The specification as written; all spellings of "none" become the empty text."""
    text = str(text).strip()
    return "" if text.lower() in ("", "none", "off") else text


def _time_zone(config: Mapping[str, Any]) -> str | None:
    """Name of the zone of lmms-eval's dates (its ``--timezone``, Singapore's by default)."""
    typed = config.get("resolved_cli_args")
    return str(typed["timezone"]) if isinstance(typed, Mapping) and typed.get("timezone") else None


def _date(value: Any, zone: str | None) -> str:
    """Bring "20261123_204304" (lmms-eval) and seconds since 1970 (lm-eval) to one form."""
    try:
        if isinstance(value, (int, float)):
            when = datetime.fromtimestamp(value, tz=timezone.utc)
            return when.strftime("%Y-%m-%d %H:%M:%S UTC")
        when = datetime.strptime(str(value), "%Y%m%d_%H%M%S")
    except (ValueError, OverflowError, OSError):  # no date at all: shown as it is
        return str(value)
    try:
        if zone is not None:
            when = when.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
            return when.strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OSError, ZoneInfoNotFoundError):  # this machine does not know the zone
        pass
    return when.strftime("%Y-%m-%d %H:%M:%S")


def _settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Run-wide facts that can change an answer, by one name in both harnesses."""
    settings = {
        key: value
        for key, value in data["config"].items()
        if key not in _NOT_SETTINGS and not key.startswith("lmms_causal_")
    }
    if backend := _BACKEND.fullmatch(str(settings.get("model_backend"))):
        settings["model_backend"] = backend["name"] + (backend["kind"] or "")
    settings["gen_kwargs"] = settings.get("gen_kwargs") or None
    seeds = {name: settings.pop(f"{name}_seed", None) for name in _SEEDS}
    settings["seeds"] = ", ".join(f"{name} {seed}" for name, seed in seeds.items())
    cli = data["config"].get("resolved_cli_args") or {}
    for key in ("reasoning_tags", "process_with_media", "apply_chat_template"):
        if key in cli:
            settings[key] = cli[key]
    for key in ("system_instruction", "chat_template_sha", "fewshot_as_multiturn"):
        settings[key] = data.get(key)
    if "transformers_version" in data:
        settings["transformers_version"] = data["transformers_version"]
    return settings


def _read_tasks(data: Mapping[str, Any], file: Path, harness: str) -> dict[str, Task]:
    groups = data.get("groups") or {}
    tasks = {}
    missing = []
    for name, results in data["results"].items():
        aggregates = _aggregates(results)
        is_group = name in groups or name not in data["configs"]
        if is_group and not aggregates:
            continue
        config = data["configs"].get(name, {})
        samples: dict[str, tuple[Sample, ...]] = {}
        if not is_group:
            source = samples_file(file, name)
            if source is None:
                missing.append(name)
                continue
            samples = read_samples(source, name, (config, aggregates), harness)
        tasks[name] = Task(
            name=name,
            config=config,
            version=(data.get("versions") or {}).get(name),
            num_fewshot=(data.get("n-shot") or {}).get(name),
            aggregates=aggregates,
            higher_is_better=_directions((data.get("higher_is_better") or {}).get(name) or {}),
            samples=samples,
            is_group=is_group,
        )
    if missing:
        raise UserError(
            f"{file}: no samples file for {', '.join(missing)} beside it; "
            "run the evaluation again with --log_samples"
        )
    return tasks


def _aggregates(results: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Numbers under "metric,filter" keys, without the standard errors."""
    aggregates = {}
    for key, value in results.items():
        metric, comma, name = key.partition(",")
        value = None if isinstance(value, str) else number(value)
        if comma and value is not None and "_stderr" not in metric:
            aggregates[metric, name] = value
    return aggregates


def _directions(recorded: Mapping[str, Any]) -> dict[str, bool | None]:
    return {key: item if isinstance(item, bool) else None for key, item in recorded.items()}
