"""Take heads out: their outputs become 0 or a mean, or they attend to everything alike."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit, HeadReplace, HeadScale, Uniform
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.attention.spans import Span
from lmms_causal.interventions.attention.tables import HeadTable

__all__ = ["Ablation", "ablated", "read_means", "unfit"]

Ablation = Literal["zero", "mean", "uniform"]
"""What becomes of a head: its output is 0; is that of a table; is the mean of what it may see."""


def read_means(method: str, ablation: Ablation, table: str | None) -> HeadTable | None:
    """Return the table that a method's parameters name, if they need one.

    Raises:
        UserError: a table is missing, cannot be read, or is given and not used.
    """
    if ablation != "mean":
        if table is not None:
            raise UserError(
                f"intervention {method}: table={table} must be left out with ablation={ablation}"
            )
        return None
    if table is None:
        raise UserError(
            f"intervention {method}: ablation=mean must come with table=FILE#DIGEST; make one with "
            "lmms_causal.interventions.attention.tables.head_means"
        )
    return HeadTable.load(table, method)


def ablated(
    ablation: Ablation, heads: Selected, queries: Span, means: HeadTable | None
) -> AttentionEdit:
    """Return the edit that takes heads out, at some queries.

    Args:
        ablation: what becomes of them.
        heads: which.
        queries: of which tokens.
        means: for ``mean``.
    """
    operation: Uniform | HeadReplace | HeadScale
    if ablation == "uniform":
        operation = Uniform()
    elif ablation == "mean":
        assert means is not None
        values = means.values

        def mean(where: Coordinates) -> Tensor:
            return values[where.layer][None, None].to(where.query_columns.device)

        operation = HeadReplace(mean)
    else:
        operation = HeadScale(0.0)
    return AttentionEdit(operation, heads.where(queries), counts_tokens=queries.names_answer)


def unfit(adapter: ModelAdapter, heads: Selected, means: HeadTable | None) -> str | None:
    """Return why heads of a model cannot be taken out, or None."""
    reason = heads.beyond(adapter)
    if reason is None and means is not None:
        return means.unfit(adapter, heads.of(adapter.depth))
    return reason
