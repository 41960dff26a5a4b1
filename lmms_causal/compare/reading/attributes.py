"""What a samples file tells about a document besides its scores: fields to split and cluster by.

lmms-eval drops the documents themselves, so that a field is known only where the task put it into
a metric's record; lm-eval keeps the document. Some fields have a common name and are recorded
under another one: these are derived here, so that ``--by connector`` works on any run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Stratum of VQA-Causal and VCR-Causal; "vqa/oa" is that of the tasks without a connector.
_VQA_OR_VCR_CAUSAL = re.compile(r"(?P<source>vqa|vcr)/(?!oa$)(?P<connector>.+)")


def attributes_of(
    task: str, document: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Scalar fields of a document by name; what a metric's record says wins over the document.

    Args:
        task: Task name.
        document: The document, where the harness recorded it.
        metrics: Metric values by name, some of them records.
    """
    found = scalars(document)
    found.update(recorded(metrics))
    for name, value in _derived(task, found).items():
        found.setdefault(name, value)
    return found


def recorded(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Scalar fields of all records among the metric values."""
    found: dict[str, Any] = {}
    for value in metrics.values():
        if isinstance(value, Mapping):
            found.update(scalars(value))
    return found


def scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are text, numbers or truth values."""
    return {key: item for key, item in values.items() if isinstance(item, (str, int, float, bool))}


def own_key(fields: Mapping[str, Any]) -> str | None:
    """Our own document id: "id", or the pair and the order within it; None without either."""
    if "id" in fields:
        return str(fields["id"])
    pair = fields.get("pair_id", fields.get("pair"))
    if pair is not None and "order" in fields:
        return f"{pair}/{fields['order']}"
    return None


def _derived(task: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of this package's tasks under the name a reader asks for."""
    stratum = fields.get("stratum")
    if task.startswith("centerbench") and "level" in fields:
        return {"complexity": fields["level"]}  # the number of embedded clauses
    if isinstance(stratum, str) and (parts := _VQA_OR_VCR_CAUSAL.fullmatch(stratum)):
        return parts.groupdict()
    return {}
