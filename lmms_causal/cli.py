"""The command ``lmms-causal``: what neither harness has a place for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lmms_causal import __version__
from lmms_causal.command_line import Mistaken
from lmms_causal.errors import UserError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; a user's mistake is one line on standard error and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["lm-eval"]:  # every argument behind it belongs to lm-eval
            from lmms_causal.commands.lm_eval import run

            return run(arguments[1:])
        parsed = _parser().parse_args(arguments)
        return parsed.run(parsed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Mistaken as mistake:
        mistake.tell()
        return 2
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    from lmms_causal.commands import (
        attend,
        bench,
        centerbench,
        convert,
        doctor,
        export,
        fetch,
        interventions,
        reproduce,
        rescore,
        run,
        stubs,
        submit,
        tasks_path,
    )
    from lmms_causal.compare import command as compare

    parser = argparse.ArgumentParser(
        prog="lmms-causal",
        description="Causal-reasoning tasks, interventions and paired comparison for lmms-eval and "
        "lm-eval. Evaluate with `lmms-eval --model causal ...` or `lmms-causal lm-eval run ...`.",
    )
    parser.add_argument("--version", action="version", version=f"lmms-causal {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "lm-eval", help="lm-eval's own command line with our models and tasks known to it"
    )
    for module in (
        run,
        compare,
        reproduce,
        submit,
        rescore,
        interventions,
        doctor,
        attend,
        bench,
        tasks_path,
        stubs,
        fetch,
        convert,
        centerbench,
        export,
    ):
        module.add_parser(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
