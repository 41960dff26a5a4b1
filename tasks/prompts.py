"""Prompts as Jinja templates in each benchmark's ``prompts`` folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

__all__ = ["template"]


@cache
def template(benchmark: str, name: str) -> jinja2.Template:
    """The template ``<benchmark>/prompts/<name>.j2``; a field it lacks is an error, not a blank."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / benchmark / "prompts"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return environment.get_template(f"{name}.j2")
