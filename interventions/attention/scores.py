"""Files of head scores: JSON lines ``{"layer-head": [score of each run]}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from statistics import fmean

from lmms_causal.errors import UserError
from lmms_causal.interventions.pinned import read_pinned

__all__ = ["read_scores"]

_PLACE = re.compile(r"(\d+)-(\d+)")


def read_scores(reference: str, method: str, parameter: str) -> dict[tuple[int, int], float]:
    """Return ``(layer, head)`` to the mean of its scores over all runs in a file.

    A head may have a list of scores or one, and several lines of a file are several sets of runs.

    Args:
        reference: ``FILE#DIGEST``.
        method: who reads it.
        parameter: the method's parameter that names it.

    Raises:
        UserError: the file cannot be read, is not pinned or another one, or is not of this form.
    """
    content = read_pinned(
        reference, f"{parameter}=", "file of head scores", f"intervention {method}: "
    )
    where = f"intervention {method}: {parameter}={reference.partition('#')[0]}"
    runs: dict[tuple[int, int], list[float]] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if not isinstance(found, Mapping):
                raise TypeError
            for name, value in found.items():
                match = _PLACE.fullmatch(name)
                if match is None:
                    raise ValueError
                place = int(match[1]), int(match[2])
                several = value if isinstance(value, list) else [value]
                runs.setdefault(place, []).extend(float(score) for score in several)
        except (TypeError, ValueError):
            raise UserError(
                f'{where}: line {number} is not of the form {{"layer-head": [score, ...]}}; give '
                "a file of lines such as those"
            ) from None
    if not any(runs.values()):
        raise UserError(f"{where} has no scores; give a file of runs that were counted")
    return {place: fmean(scores) for place, scores in sorted(runs.items()) if scores}
