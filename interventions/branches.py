"""Branches that several methods share: one name and equal contents, so that they are run once."""

from __future__ import annotations

from lmms_causal.interventions.edits.tokens import without_media
from lmms_causal.interventions.plan import Branch, WithoutImage

__all__ = ["TEXT_ONLY", "text_only"]

TEXT_ONLY = "text_only"
"""The name of the branch that is asked the same words without pictures and videos."""


def text_only(without_image: WithoutImage) -> Branch:
    """Return the branch without pictures; the special tokens around them go too.

    Args:
        without_image: what becomes of prompts that have no image to begin with.
    """
    return Branch(TEXT_ONLY, tokens=without_media, without_image=without_image)
