"""What else differs between two runs besides the interventions: named, never hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare.pairing.judges import judge_of
from lmms_causal.compare.pairing.pairs import Pairing
from lmms_causal.compare.records import Run, Task

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONGEST = 60
_UNSET = "not set"

#: Settings whose difference should not change an answer, but in practice may: a remark only.
_MINOR_SETTINGS = frozenset(
    [
        "batch_size",
        "batch_sizes",
        "device",
        "transformers_version",
        "process_docs_parallel",
    ]
)
#: Settings that do not change an answer, or show as different documents (limit, offset).
_IGNORED_SETTINGS = frozenset(
    [
        "use_cache",
        "limit",
        "offset",
        "bootstrap_iters",
        "model_num_parameters",
        "process_docs_parallel",
    ]
)
#: Model arguments that say where and how fast, not what. The precision (dtype) is not among them:
#: in a lower one greedy answers change by themselves, by more than many an intervention does.
_MINOR_ARGS = frozenset(["device", "device_map", "batch_size", "max_batch_size", "use_cache"])
#: Task settings that both harnesses write and spell alike.
_SHARED_TASK_KEYS = ("output_type", "generation_kwargs", "description", "num_fewshot", "repeats")
#: Generation settings without effect when nothing is sampled.
_SAMPLING = ("do_sample", "temperature", "top_p", "top_k")
_IGNORED_TASK_KEYS = frozenset(("metadata", "task_alias", "group", "tag", "fewshot_config"))


@dataclass(frozen=True)
class Difference:
    """One thing that differs between run A and run B.

    Attributes:
        what: Its name, for example "model argument dtype".
        a: Its value in A, shortened for reading.
        b: Its value in B.
        serious: True when it may explain a difference of scores by itself.
    """

    what: str
    a: str
    b: str
    serious: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.a} (A), {self.b} (B)"


def find_differences(a: Run, b: Run) -> list[Difference]:
    """List what differs between the runs besides the interventions, serious things first."""
    found = [
        *_compare("harness", a.harness, b.harness),
        *_compare("model (--model)", a.model, b.model),
    ]
    if a.causal_version and b.causal_version:  # lmms-eval has no place for it
        found += _compare("version of lmms-causal", a.causal_version, b.causal_version)
    same_harness = a.harness == b.harness
    if same_harness:
        found += _compare("harness version", a.harness_version, b.harness_version, serious=False)
    for key in _keys(a.model_args, b.model_args):
        found += _compare(
            f"model argument {key}",
            a.model_args.get(key),
            b.model_args.get(key),
            serious=key not in _MINOR_ARGS,
        )
    for key in _keys(a.settings, b.settings):
        if key in _IGNORED_SETTINGS or not (same_harness or key in a.settings.keys() & b.settings):
            continue
        left, right = a.settings.get(key), b.settings.get(key)
        if not same_harness and (plain(left) == _UNSET or plain(right) == _UNSET):
            continue  # what one harness records, the other leaves to the model
        found += _compare(key, left, right, serious=key not in _MINOR_SETTINGS)
    for name in a.tasks.keys() & b.tasks.keys():
        found += _compare_tasks(a.tasks[name], b.tasks[name], same_harness)
    return sorted(found, key=lambda difference: (not difference.serious, difference.what))


def differing_targets(task: str, pairing: Pairing) -> list[Difference]:
    """Documents of one id that are scored against other answers: these are other questions."""
    found = pairing.targets_differ
    if not found:
        return []
    left, right = (plain(sample.target) for sample in found[0])
    what = f"expected answers of {len(found)} of {len(pairing.pairs)} documents of task {task}"
    return [Difference(what, shorten(left), shorten(right), serious=True)]


def _compare_tasks(a: Task, b: Task, same_harness: bool) -> list[Difference]:
    if a.is_group or b.is_group:
        return []
    found = _compare(f"version of task {a.name}", a.version, b.version)
    found += _compare(f"few-shot examples of task {a.name}", a.num_fewshot, b.num_fewshot)
    found += _compare(f"judge of task {a.name}", judge_of(a), judge_of(b))
    keys = _keys(a.config, b.config) if same_harness else list(_SHARED_TASK_KEYS)
    for key in keys:
        if key in _IGNORED_TASK_KEYS or key == "num_fewshot":
            continue
        left, right = a.config.get(key), b.config.get(key)
        if key == "generation_kwargs":
            left, right = generation_settings(left), generation_settings(right)
        found += _compare(f"{key} of task {a.name}", left, right)
    return found


def generation_settings(kwargs: Any) -> Any:
    """Generation settings in one spelling; of greedy decoding only what greedy decoding uses."""
    if not isinstance(kwargs, Mapping):
        return kwargs
    plain = {"max_new_tokens" if k == "max_gen_toks" else k: v for k, v in kwargs.items()}
    if plain.get("do_sample") is False:
        plain = {key: value for key, value in plain.items() if key not in _SAMPLING}
        plain["do_sample"] = False
    return plain


def _keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return sorted(a.keys() | b.keys())


def _compare(what: str, a: Any, b: Any, serious: bool = True) -> list[Difference]:
    left, right = plain(a), plain(b)
    if left == right:
        return []
    return [Difference(what, shorten(left), shorten(right), serious)]


def plain(value: Any) -> str:
    """A value as text: 1, 1.0 and "1" alike, functions without their addresses.

    Of a switch that is off, one harness writes False and the other nothing.
    """
    if value is None or value is False or value == "" or value == {}:
        return _UNSET
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value:g}"
    if not isinstance(value, str):
        value = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return _ADDRESS.sub("", value)


def shorten(text: str) -> str:
    """One line of at most 60 characters."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
