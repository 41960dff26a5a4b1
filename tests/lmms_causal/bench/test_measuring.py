"""What the bench says of a case holds, whatever the clock says."""

from __future__ import annotations

import itertools
import json
import math
import sys
from dataclasses import replace

import pytest
import torch

from lmms_causal.bench import timing
from lmms_causal.bench.cases import KINDS, Case, dtype_named, kind_named
from lmms_causal.bench.memory import peak_bytes, resident_growth, tensor_peak
from lmms_causal.bench.reporting import Table, efficiency_text, record
from lmms_causal.bench.running import DENSE, Row, efficiency_lengths, measure
from lmms_causal.bench.ways import MASKED, TOLERANCES, check_known, gap, way
from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.backends.registry import backends
from lmms_causal.kernels.patterns import Causal, Full
from lmms_causal.kernels.patterns.s2 import S2
from lmms_causal.kernels.patterns.window import SlidingWindow


def case(pattern=None, kind="causal-self", dtype=torch.float32, m=None, n=300, **options) -> Case:
    pattern = SlidingWindow(40) if pattern is None else pattern
    options = {"heads": 4, "kv_heads": 2, "width": 16, **options}
    return Case(KINDS[kind], "p", pattern, dtype, n if m is None else m, n, **options)


class Pretended:
    """A backend that computes as told, and counts its calls."""

    name = "pretended"

    def __init__(self, compute, refusal=None):
        self.compute, self.refusal, self.calls = compute, refusal, 0

    def missing(self):
        return None

    def verify(self, problem):
        return self.refusal

    def run(self, problem):
        self.calls += 1
        return self.compute(problem), None


@pytest.fixture
def pretended(monkeypatch):
    def register(compute, refusal=None):
        it = Pretended(compute, refusal)
        monkeypatch.setitem(backends(), it.name, it)
        return it

    return register


def reference(problem):
    return backends()["reference"].run(problem)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_dense_attention_is_what_its_kind_says(kind):
    """Its pairs, and its result: causal in the first kind, everything in the others."""
    m = 64 if KINDS[kind].cross else 100
    causal = kind == "causal-self"
    it = case(Causal() if causal else Full(), kind, m=m, n=100, batch=2)
    assert it.dense_pairs == 2 * 4 * (5050 if causal else m * 100) == it.pairs
    q, k, v = it.draw()
    assert q.shape == (2, 4, m, 16) and k.shape == v.shape == (2, 2, 100, 16)
    assert gap(it, it.dense(q, k, v)(), q, k, v) < 1e-6


def test_pairs_and_operations_of_a_window():
    it = case(SlidingWindow(4), n=16, batch=3)
    assert it.pairs == 3 * 4 * 58 and it.flops == it.pairs * 2 * (16 + 16)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind, m", [("causal-self", None), ("causal-cross", 7)])
def test_eager_attention_in_any_type_is_within_tolerance(dtype, kind, m):
    it = case(S2(block=16, local=2, stride=4), kind, dtype, m=m, n=1000)
    q, k, v = it.draw()
    assert (
        gap(it, attention(q, k, v, pattern=it.pattern, backend="reference"), q, k, v)
        <= (TOLERANCES[dtype])
    )
    made = way(MASKED, it, q, k, v)
    assert gap(it, made.run(), q, k, v) <= TOLERANCES[dtype]
    assert made.held == 4 * it.queries * it.keys * q.element_size()  # a mask for each head


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_key_too_few_is_beyond_tolerance(dtype):
    it = case(SlidingWindow(40), dtype=dtype)
    q, k, v = it.draw()
    out = attention(q, k, v, pattern=SlidingWindow(39))
    assert gap(it, out, q, k, v) > TOLERANCES[dtype]


@pytest.mark.parametrize("row", [0, 299, 41])
def test_a_row_of_the_first_the_last_or_between_is_seen_to_be_wrong(row):
    it = case()
    q, k, v = it.draw()
    out = attention(q, k, v, pattern=it.pattern)
    out[0, 3, row, 5] += 0.01
    assert gap(it, out, q, k, v) == pytest.approx(0.01, rel=1e-3)


def test_what_is_not_finite_or_of_another_shape_or_type_is_infinitely_wrong():
    it = case()
    q, k, v = it.draw()
    out = attention(q, k, v, pattern=it.pattern)
    torn = out.clone()
    torn[0, 0, 33, 0] = torch.nan  # in a row that is not compared otherwise
    for bad in (torn, out[:, :, :-1], out.double()):
        assert gap(it, bad, q, k, v) == math.inf


def test_a_wrong_result_is_told_and_not_timed(pretended):
    it = pretended(lambda problem: reference(problem) + 1e-3)
    dense, row = measure(case(), ["pretended"], repeats=1, memory=False)
    assert dense.backend == DENSE and dense.seconds is not None
    assert row.wrong and row.seconds is None and row.gap == pytest.approx(1e-3, rel=1e-2)
    assert "float64" in row.problem and it.calls == 1


def test_what_cannot_run_says_why(pretended):
    it = pretended(reference, refusal="it takes no windows")
    _, row = measure(case(), ["pretended"], repeats=1, memory=False)
    assert (row.problem, row.wrong, row.seconds, it.calls) == (
        "it takes no windows",
        False,
        None,
        0,
    )

    def uncompiled(problem):
        raise UserError("there is no compiler; install one")

    pretended(uncompiled)
    _, row = measure(case(), ["pretended"], repeats=1, memory=False)
    assert row.problem == "there is no compiler; install one" and not row.wrong


def test_a_mask_too_large_is_not_made():
    q = torch.empty(1, 8, 1, 16).expand(1, 8, 20000, 16)
    it = case(S2(), n=20000, heads=8, kv_heads=8)
    assert way(MASKED, it, q, q, q) == "its mask would take 12.8 GB"


def test_numbers_of_a_row_fit_each_other(pretended):
    pretended(reference)
    it = case()
    dense, row, chosen = measure(it, ["pretended", "auto"], repeats=3)
    assert row.line == pytest.approx(row.ratio * it.dense_pairs / it.pairs)
    assert row.rate == pytest.approx(it.flops / row.seconds)
    assert row.density == pytest.approx(it.pairs / it.dense_pairs)
    assert dense.ratio == 1 and dense.line is None
    assert row.of_peak / dense.of_peak == pytest.approx(row.rate / dense.rate)
    assert row.memory >= 4 * 300 * 16 * 4  # at least the output
    assert row.chosen == "" and chosen.backend == "auto" and chosen.chosen in backends()


def test_runs_are_taken_in_turn_and_timed_by_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing, "clock", lambda: lambda: now[0])
    order = []

    def run(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return call

    taken = timing.in_turn({"a": run("a", 2.0), "b": run("b", 0.0025)}, repeats=4)
    assert taken == {"a": pytest.approx([2.0] * 4), "b": pytest.approx([0.0025] * 4)}
    # once each to see how long it takes; then a short one is called often enough to be timed
    turn = ["a", "b", "b"]
    assert order == ["a", "b", *turn * 4]
    ratio = timing.median_ratio([2.0, 4.0, 90.0], [1.0, 2.0, 3.0])
    assert ratio == 2.0


def test_without_time_left_three_turns_are_made():
    taken = timing.in_turn({"a": lambda: None}, repeats=9, budget=-1.0)
    assert len(taken["a"]) == 3


def rows(ratios, memories=None, **options):
    """A dense row and ours for each length."""
    memories = memories or dict.fromkeys(ratios, 1.0)
    common = {"kind": "k", "dtype": "t", "pattern": "p", "density": 1.0, "pairs": 1, **options}
    for n, ratio in ratios.items():
        at = {"queries": n, "keys": n, "tile_bound": 1.0, "waste": 1.0, "seconds": 1.0}
        yield Row(backend=DENSE, memory=2.0, **at, **common)
        yield Row(backend="b", ratio=ratio, memory=2.0 * memories[n], **at, **common)


@pytest.mark.parametrize(
    "ratios, relation, length",
    [
        ({512: 2.0, 2048: 0.5}, "=", 1024),
        ({512: 4.0, 4096: 0.5}, "=", 2048),  # a third of the way in logarithms is left
        ({512: 0.9, 1024: 2.0, 2048: 1.0, 4096: 0.5}, "=", 2048),  # for good, not for a while
        ({512: 0.9, 1024: 0.8}, "<=", 512),
        ({512: 0.9, 1024: 1.1}, ">", 1024),
    ],
)
def test_efficiency_length_is_where_the_curves_cross_for_good(ratios, relation, length):
    time, memory = efficiency_lengths(list(rows(ratios)))
    assert (time.of, time.relation) == ("time", relation)
    assert time.length == pytest.approx(length)
    assert (memory.of, memory.relation) == ("memory", ">")  # as much as dense attention
    (by_memory,) = [
        it for it in efficiency_lengths(list(rows(ratios, ratios))) if it.of == "memory"
    ]
    assert (by_memory.relation, by_memory.length) == (relation, pytest.approx(length))


def test_one_length_is_no_curve():
    assert efficiency_lengths(list(rows({512: 0.5}))) == []
    assert efficiency_text([]) == ""


def test_tables_say_dense_attention_once_a_shape_and_align():
    table = Table(["p", "a longer one"], ["b"], predicted=False)
    given = list(rows({512: 0.5, 1024: 0.25}))
    given += [replace(row, pattern="a longer one") for row in given]
    lines = list(itertools.chain.from_iterable(map(table.lines, given)))
    assert sum(DENSE in line.split() for line in lines[3:]) == 2
    assert lines[1] == "k, t" and len({len(line) for line in lines[2:]}) == 1
    (line,) = table.lines(replace(given[1], problem="no luck", wrong=True))
    assert line.endswith("WRONG: no luck")


def test_records_are_json_without_nan():
    given = list(rows({512: math.inf, 1024: math.nan}))
    found = record(given, efficiency_lengths(given), {}, {}, {"load_average": math.nan}, {})
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["rows"][1]["ratio"] is None


def test_memory_of_tensors_is_what_is_held_at_once():
    def run():
        a = torch.ones(1 << 20)
        b = a + 1
        del a
        return b + 1  # two of three are held

    assert tensor_peak(run) == pytest.approx(2 * 4 * (1 << 20), abs=64)  # scalars are tensors
    assert peak_bytes(run) >= 2 * 4 * (1 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="the process's peak is read from /proc")
def test_memory_that_is_no_tensor_s_counts_too():
    size = 1 << 26
    assert tensor_peak(lambda: bytearray(size)) == 0
    assert 0.9 * size < resident_growth(lambda: bytearray(b"\1") * size) < 1.5 * size


def test_names_that_are_not_known_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="causal-self"):
        kind_named("causal-slef")
    with pytest.raises(UserError, match="did you mean 'bfloat16'"):
        dtype_named("bfloat")
    with pytest.raises(UserError, match=MASKED):
        check_known("sdpa-masks")
    assert dtype_named("bf16") == torch.bfloat16
    check_known(MASKED)
    check_known("auto")
