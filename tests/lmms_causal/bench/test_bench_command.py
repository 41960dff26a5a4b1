"""``lmms-causal bench`` as a user types it."""

from __future__ import annotations

import json

import pytest
import torch

from lmms_causal.cli import main
from lmms_causal.commands import bench
from lmms_causal.kernels.backends.registry import backends
from lmms_causal.kernels.patterns import Region

SMALL = ("--heads", "2", "--width", "16", "--repeats", "1", "--seconds", "0")


def test_it_prints_a_table_and_writes_json_and_curves(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="drawing needs Matplotlib")
    out, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    before = torch.get_num_threads()
    code = main(
        [
            *("bench", "--pattern", "causal", "--length", "100", "--length", "200"),
            *("--dtype", "bf16"),
            *("--backend", "sdpa-mask", "--kind", "all", "--queries", "5", *SMALL),
            *("--json", str(out), "--plot", str(plot)),
        ]
    )
    assert code == 0 and torch.get_num_threads() == before
    found = json.loads(out.read_text())
    rows = found["rows"]
    assert len(rows) == 4 * 2 * 2  # kinds, lengths, ways
    assert {row["problem"] for row in rows} == {None}
    assert {
        (row["kind"], row["queries"], row["pattern"]) for row in rows if row["keys"] == 200
    } == {
        ("causal-self", 200, "causal"),
        ("causal-cross", 5, "causal"),
        ("noncausal-self", 200, "full"),
        ("noncausal-cross", 5, "full"),
    }
    assert {it["of"] for it in found["efficiency_lengths"]} == {"time", "memory"}
    assert found["machine"]["threads"] == 1 and set(found["peaks"]) == {"bfloat16"}
    text = capsys.readouterr().out
    assert "noncausal-cross, bfloat16" in text and "efficiency length" in text
    drawn = plot.read_text()
    assert drawn.startswith("<?xml") and "full, sdpa-mask" in drawn


def test_a_wrong_backend_ends_it_with_1(monkeypatch, capsys):
    class Wrong:
        name = "wrong"

        def missing(self):
            return None

        def verify(self, problem):
            return None

        def run(self, problem):
            return torch.zeros_like(problem.q), None

    monkeypatch.setitem(backends(), "wrong", Wrong())
    code = main(["bench", "--pattern", "causal", "--length", "64", "--backend", "wrong", *SMALL])
    assert code == 1 and "WRONG: differs from float64" in capsys.readouterr().out


def test_cost_models_predict(capsys, monkeypatch):
    from lmms_causal.kernels import cost

    monkeypatch.setattr(
        cost, "calibrate", lambda name, dtype, **sizes: cost.CostModel(1.0, 0.0, 0.0, 0.0)
    )
    code = main(
        [
            "bench",
            "--pattern",
            "causal",
            "--length",
            "128",
            "--backend",
            "reference",
            "--fit",
            *SMALL,
        ]
    )
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if " reference " in line]
    assert code == 0 and line.split()[-1] == "6000"  # 3 tiles of 2 heads, a second each, in ms
    assert "per tile of 64 x 64" in text


@pytest.mark.parametrize(
    "options, named",
    [
        (["--pattern", "windov(4)"], "window"),
        (["--pattern", "window(4)+causal@0"], "one layer"),
        (["--pattern", "neighborhood(3)", "--region", "image:8:8x8", "--length", "32"], "image"),
        (["--pattern", "mutual", "--length", "700"], "say where it is by --region"),
        (["--dtype", "int8"], "--dtype int8"),
        (["--kind", "causal"], "--kind causal"),
        (["--backend", "spda"], "did you mean 'sdpa'"),
        (["--length", "0"], "--length 0"),
        (["--heads", "6", "--kv-heads", "4"], "--kv-heads 4"),
        (["--kind", "causal-cross", "--queries", "300", "--length", "200"], "--queries 300"),
        (["--region", "image:8"], "--region image:8"),
        (["--region", "image:8:4"], "--region image:8:4"),
        (["--json", "missing/folder/out.json"], "no folder"),
        (["--plot", "curves.gif"], "--plot curves.gif"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(options, named, capsys, monkeypatch):
    def unexpected(*given, **options):
        raise AssertionError("measured")

    monkeypatch.setattr("lmms_causal.bench.running.measure", unexpected)
    monkeypatch.setattr("lmms_causal.bench.machine.measured_peak", unexpected)
    assert main(["bench", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and named in captured.err
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_regions_are_read():
    assert bench._region("question:4:9") == Region("question", 4, 9)
    assert bench._region("image:3:2x5x4") == Region("image", 3, 43, (2, 5, 4))
