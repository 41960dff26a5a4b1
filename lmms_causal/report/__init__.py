"""One self-contained HTML page for a comparison, and its plots as files.

`write_page` makes the page from `lmms_causal.compare.Comparison` objects, `write_figures` the plots
as PNG and SVG. The page needs no network: styles, script, pictures and data are inside it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmms_causal.report.figures import write_figures
    from lmms_causal.report.page import write_page

__all__ = ["write_figures", "write_page"]

_HOME = {"write_figures": "figures", "write_page": "page"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
