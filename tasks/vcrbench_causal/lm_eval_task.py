"""What the lm-eval task files name: the documents of the blind controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.vcrbench_causal import documents

if TYPE_CHECKING:
    import datasets


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}
