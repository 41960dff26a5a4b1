"""The options of ``lmms-causal compare`` that write the page and the plots."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from lmms_causal.compare.comparison import Comparison

__all__ = ["add_arguments", "check", "write"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of ``compare``."""
    group = parser.add_argument_group("report")
    group.add_argument(
        "--report",
        metavar="OUT.html",
        type=Path,
        help="also write one self-contained HTML page: plots, costs, every document",
    )
    group.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="pictures of the documents for --report, by file name (default: asked of the "
        "installed task)",
    )
    group.add_argument(
        "--attention",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="folder of `lmms-causal attend --output`, laid over the pictures of --report; may be "
        "repeated, one for each run",
    )
    group.add_argument(
        "--figures", metavar="DIR", type=Path, help="also write the plots as PNG and SVG files"
    )


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work before a run is read.

    Raises:
        UserError: Options without ``--report``, folders that do not exist or hold something else,
            no place to write to, no Matplotlib for ``--figures``.
    """
    if args.report is None:
        for name, value in (("--images", args.images), ("--attention", args.attention)):
            if value:
                raise UserError(f"{name} is for the page: add --report OUT.html")
    else:
        from lmms_causal.report.attention import check_folder
        from lmms_causal.report.pictures import from_folder

        if args.report.is_dir() or not args.report.absolute().parent.is_dir():
            raise UserError(f"--report {args.report}: name a file in a folder that exists")
        if args.images is not None:
            from_folder(args.images)
        for folder in args.attention:
            check_folder(folder)
    if args.figures is not None:
        from lmms_causal.report.figures import require

        require()
        if args.figures.exists() and not args.figures.is_dir():
            raise UserError(f"--figures {args.figures}: is a file; name a folder")


def write(args: argparse.Namespace, comparisons: Sequence[Comparison]) -> None:
    """Write what was asked for.

    Raises:
        UserError: It cannot be written, or pictures or maps do not fit the runs.
    """
    if args.report is not None:
        from lmms_causal.report.page import Material, write_page

        write_page(comparisons, args.report, Material(args.images, tuple(args.attention)))
    if args.figures is not None:
        from lmms_causal.report.figures import write_figures

        write_figures(comparisons, args.figures)
