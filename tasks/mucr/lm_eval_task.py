"""What the lm-eval task files name: documents, pictures, and choice scores from log-probabilities.

Generated answers are scored by `generated`, the same for both harnesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.loglikelihoods import from_lm_eval
from lmms_causal.tasks.mucr import documents, images, scoring

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}


def pictures(doc: Doc) -> list[Image.Image]:
    """``doc_to_image``: one picture for each placeholder in the text, in order."""
    return images.pictures(doc)


def option(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``mucr_cue_options`` and its blind twin."""
    return scoring.score_options(doc, from_lm_eval(results), by_length=True)
