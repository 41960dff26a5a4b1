"""``lmms-causal bench``: what patterns of attention cost here, by each backend."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from lmms_causal.bench.cases import Case
    from lmms_causal.kernels.cost import CostModel
    from lmms_causal.kernels.patterns import AttentionPattern, Region

__all__ = ["add_parser"]

_EPILOG = """\
columns: density, of the pairs that dense attention computes; ms, median; x dense, time in relation
to torch's dense attention of the same run; x line, to that time multiplied by the density (1 is the
density-proportional line, less is better); GF/s of useful operations, and of the measured peak; MB
at the peak beyond the inputs; first ms, of the first call, which may compile; bound, the greatest
speed-up that skipping tiles of 64 x 64 allows.

Each result is compared with float64 before anything is timed. Exit code: 0, or 1 if a result is
wrong, or 2 if an option is.

examples:
  lmms-causal bench
  lmms-causal bench --pattern 'window(256)' 'power(window=5)' --length 1024 2048 4096 8192 \\
      --dtype fp32 bf16 --backend cpu flex gather --json bench.json --plot bench.png
  lmms-causal bench --pattern causal --queries 1 --kind causal-cross --length 4096 --dtype bf16
  lmms-causal bench --pattern mutual --length 704 --region image:35:24x24 question:611:640

Patterns are described in docs/patterns.md, definitions in docs/bench.md.
"""


class _More(argparse.Action):
    """Several values instead of the default, and more of them where the option is repeated."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        given = getattr(namespace, self.dest)
        more = values if given is self.default else [*given, *values]
        setattr(namespace, self.dest, more)


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "bench",
        help="time patterns of attention by each backend, beside torch's dense attention",
        description="Measure time, memory and distance from the limits, for patterns x lengths x "
        "types x backends.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--pattern",
        metavar="P",
        nargs="+",
        action=_More,
        default=["causal", "window(256)"],
        help="patterns (default: causal 'window(256)')",
    )
    add(
        "--length",
        metavar="N",
        nargs="+",
        action=_More,
        type=int,
        default=[1024, 2048],
        help="keys (default: 1024 2048)",
    )
    add(
        "--dtype",
        metavar="T",
        nargs="+",
        action=_More,
        default=["float32"],
        help="float32, bfloat16, float16 (default: float32)",
    )
    add(
        "--backend",
        metavar="B",
        nargs="+",
        action=_More,
        help="names, auto, sdpa-mask (default: all that can run here but reference and flex)",
    )
    add(
        "--kind",
        metavar="K",
        nargs="+",
        action=_More,
        default=["causal-self"],
        help="causal-self, causal-cross, noncausal-self, noncausal-cross, or all (default: "
        "causal-self)",
    )
    add("--queries", metavar="M", type=int, default=64, help="in the cross kinds (default: 64)")
    add("--heads", metavar="H", type=int, default=8, help="query heads (default: 8)")
    add("--kv-heads", metavar="H", type=int, help="key heads (default: as many)")
    add("--width", metavar="D", type=int, default=64, help="of a head (default: 64)")
    add("--batch", metavar="B", type=int, default=1, help="rows (default: 1)")
    add(
        "--region",
        metavar="NAME:START:STOP",
        nargs="+",
        action=_More,
        default=[],
        help="where a picture or "
        "question is, for patterns that ask; NAME:START:ROWSxCOLUMNS gives a grid",
    )
    add("--threads", metavar="T", type=int, default=1, help="more than one: wall time (default: 1)")
    add("--repeats", metavar="R", type=int, default=7, help="turns, at most (default: 7)")
    add(
        "--seconds",
        metavar="S",
        type=float,
        default=10.0,
        help="for the turns of a case (default: 10)",
    )
    add("--fit", action="store_true", help="fit each backend's cost model and predict by it")
    add("--json", metavar="OUT", type=Path, help="write all numbers here")
    add("--plot", metavar="OUT", type=Path, help="draw curves here, .png or .svg")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which counts memory, is quiet
    # Here, not above: adding the sub-command must not cost the start of torch.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    try:
        with torch.inference_mode():
            return _measured(arguments)
    finally:
        torch.set_num_threads(before)


def _measured(arguments: argparse.Namespace) -> int:
    from lmms_causal.bench.machine import describe, measured_peak
    from lmms_causal.bench.pictures import draw
    from lmms_causal.bench.reporting import Table, efficiency_text, models_text, record
    from lmms_causal.bench.running import efficiency_lengths, measure
    from lmms_causal.bench.ways import MASKED, check_known
    from lmms_causal.kernels.cost import calibrate

    for name in arguments.backend or ():
        check_known(name)
    cases = _cases(arguments)
    names = arguments.backend or _able()
    machine = describe()
    dtypes = dict.fromkeys(case.dtype for case in cases)
    peaks = {_short(dtype): measured_peak(dtype, arguments.threads) for dtype in dtypes}
    print(
        f"{machine['processor']}, {arguments.threads} of {machine['cores']} cores, load average "
        f"{machine['load_average']:.1f}"
    )
    for dtype, peak in peaks.items():
        print(f"peak, {dtype}: {peak.rate / 1e9:.0f} GF/s ({peak.source})")
    models: dict[tuple[str, str], CostModel | None] = {}

    def model_of(name: str, case: Case) -> CostModel | None:
        if not arguments.fit or name == MASKED:
            return None
        key = (name, _short(case.dtype))
        if key not in models:
            sizes = {"width": case.width, "heads": case.heads, "kv_heads": case.kv_heads}
            try:
                models[key] = calibrate(name, case.dtype, **sizes)
            except UserError as error:  # one of the calls that it is fitted to cannot be served
                print(f"no cost model: {error}")
                models[key] = None
        return models[key]

    table = Table(arguments.pattern, names, arguments.fit)
    rows = []
    for case in cases:
        for row in measure(
            case, names, repeats=arguments.repeats, budget=arguments.seconds, models=model_of
        ):
            rows.append(row)
            for line in table.lines(row):
                print(line, flush=True)
    lengths = efficiency_lengths(rows)
    fitted = {key: model for key, model in models.items() if model is not None}
    for text in (models_text(fitted), efficiency_text(lengths)):
        if text:
            print(text)
    if arguments.json is not None:
        options = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(arguments).items()
            if name not in ("run", "command")
        }
        _write(arguments.json, record(rows, lengths, fitted, peaks, machine, options))
    if arguments.plot is not None:
        draw(rows, arguments.plot)
    return int(any(row.wrong for row in rows))


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options without meaning, before torch starts.

    Raises:
        UserError: there are such.
    """
    for name in ("queries", "heads", "width", "batch", "threads", "repeats"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name} {getattr(arguments, name)}: take 1 or more")
    if min(arguments.length) < 1:
        raise UserError(f"--length {min(arguments.length)}: take 1 or more")
    if arguments.kv_heads is not None and (
        arguments.kv_heads < 1 or arguments.heads % arguments.kv_heads
    ):
        raise UserError(f"--kv-heads {arguments.kv_heads}: must divide --heads {arguments.heads}")
    for name in ("json", "plot"):
        target = getattr(arguments, name)
        if target is not None and not target.absolute().parent.is_dir():
            raise UserError(f"--{name} {target}: there is no folder {target.parent}; make it first")
    if arguments.plot is not None:
        from lmms_causal.bench.pictures import require

        require(arguments.plot)


def _cases(arguments: argparse.Namespace) -> list[Case]:
    """Everything to be measured, all of it checked, in the order of the tables."""
    from lmms_causal.bench.cases import KINDS, Case, dtype_named, kind_named
    from lmms_causal.kernels.patterns import Causal, Full

    every = list(KINDS.values())
    kinds = every if arguments.kind == ["all"] else [kind_named(name) for name in arguments.kind]
    patterns = {text: _pattern(text) for text in arguments.pattern}
    regions = tuple(_region(text) for text in arguments.region)
    for text, region in zip(arguments.region, regions, strict=True):
        if region.stop > min(arguments.length):
            raise UserError(
                f"--region {text}: ends at {region.stop}, behind --length {min(arguments.length)}"
            )
    cases = []
    for kind in kinds:
        for name in arguments.dtype:
            for length in arguments.length:
                for text, pattern in patterns.items():
                    if isinstance(pattern, Causal) and not kind.causal:
                        text, pattern = "full", Full()
                    queries = arguments.queries if kind.cross else length
                    if queries > length:
                        raise UserError(
                            f"--queries {queries}: more than the keys of --length {length}"
                        )
                    case = Case(
                        kind,
                        text,
                        pattern,
                        dtype_named(name),
                        queries,
                        length,
                        arguments.heads,
                        arguments.kv_heads or arguments.heads,
                        arguments.width,
                        arguments.batch,
                        regions,
                    )
                    _check_regions(text, pattern, case)
                    cases.append(case)
    return list(dict.fromkeys(cases))


def _check_regions(text: str, pattern: AttentionPattern, case: Case) -> None:
    try:
        pattern.check(case.context)
    except UserError as error:
        if "no region" not in str(error):
            raise
        raise UserError(
            f"--pattern {text}: {error}; say where it is by --region, as image:35:24x24 or "
            "question:611:640"
        ) from None


def _pattern(text: str) -> AttentionPattern:
    from lmms_causal.kernels.patterns import AttentionPattern
    from lmms_causal.kernels.patterns.spec import parse_pattern

    pattern = parse_pattern(text)
    if not isinstance(pattern, AttentionPattern):
        raise UserError(
            f"--pattern {text}: a call is one layer; give the patterns of the layers one by one"
        )
    return pattern


def _region(text: str) -> Region:
    from lmms_causal.kernels.patterns import Region

    wrong = UserError(
        f"--region {text}: write NAME:START:STOP, or NAME:START:ROWSxCOLUMNS, as image:35:24x24"
    )
    name, *rest = text.split(":")
    if len(rest) != 2 or not name or not rest[0].isdigit():
        raise wrong
    start, extents = int(rest[0]), rest[1].split("x")
    if not all(it.isdigit() and int(it) for it in extents):
        raise wrong
    if len(extents) == 1:
        if int(extents[0]) <= start:
            raise wrong
        return Region(name, start, int(extents[0]))
    grid = tuple(map(int, extents))
    size = 1
    for extent in grid:
        size *= extent
    return Region(name, start, start + size, grid)


def _able() -> Sequence[str]:
    """Backends that can run here; not the specification, nor what compiles for many seconds."""
    from lmms_causal.kernels.backends.registry import backends

    return [
        name
        for name, it in backends().items()
        if name not in ("reference", "flex") and it.missing() is None
    ]


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _write(target: Path, found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        target.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {target}: cannot be written ({error.strerror})") from None
