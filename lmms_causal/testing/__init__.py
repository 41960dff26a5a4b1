"""Shared factories for tests: tiny random models of real families, and prompts for them."""

from __future__ import annotations

from lmms_causal.testing.families import FAMILIES, Family, build, family, names, save
from lmms_causal.testing.prompts import Prompt, encode, picture, video

__all__ = [
    "FAMILIES",
    "Family",
    "Prompt",
    "build",
    "encode",
    "family",
    "names",
    "picture",
    "save",
    "video",
]
