"""Where on the picture the answer looks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter.grids import Grid, overview
from lmms_causal.kernels.statistics import Selected

__all__ = ["Heat"]


class Heat(Analysis):
    """Weights of the queries that predict the answer on a picture's tokens, in their grid."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be one picture, whose tokens lie in a known grid."""
        if len(trace.document.images) != 1:
            return f"it shows {len(trace.document.images)} pictures, and one is needed"
        try:
            _grid(subject, trace)
        except UserError as error:
            return str(error)
        return None

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """The weights themselves, averaged over heads."""
        positions = _grid(subject, trace).positions
        return {"heat": Wanted(lambda: Selected(positions, average=True), trace.predicting)}

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """A map of each layer, and where their mean is greatest."""
        grid = _grid(subject, trace)
        maps = found["heat"][:, 0].mean(dim=1).unflatten(-1, (grid.height, grid.width))
        mean = maps.mean(dim=0)
        row, column = divmod(int(mean.argmax()), grid.width)
        return Findings(
            record={
                "grid": [grid.height, grid.width],
                "cropped": _cropped(subject),
                "greatest": {"row": row, "column": column, "weight": float(mean.max())},
                "uniform": float(mean.mean()),
            },
            arrays={"heat": maps},
        )


def _cropped(subject: Subject) -> bool:
    """Whether the model sees the middle square of a picture only."""
    family = subject.adapter.family
    reader = getattr(subject.encoder.processor, "image_processor", None)
    whole = family is not None and family.overview == "whole"  # others fit tiles to the picture
    return whole and bool(getattr(reader, "do_center_crop", False))


def _grid(subject: Subject, trace: Trace) -> Grid:
    return overview(subject.adapter, trace.inputs)
