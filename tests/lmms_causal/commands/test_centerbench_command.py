"""``lmms-causal centerbench``: curves of runs as both harnesses write them, the audit, errors."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lmms_causal.cli import main
from lmms_causal.commands import centerbench

LEVELS = range(1, 7)


def _write_run(folder: Path, harness: str, tasks: tuple[str, ...] = ("centerbench",)) -> Path:
    """A run whose gap is ten points per level, ten sentences a level, in the harness's files."""
    folder.mkdir()
    rows = []
    for level in LEVELS:
        for index in range(10):
            for subset, right in (("plausible", 10), ("implausible", 10 - level)):
                record = {
                    "id": f"{subset}/{level}/{index:02d}/0/causal_sequence",
                    "sentence_id": f"{subset}/{level}/{index:02d}",
                    "score": float(index < right),
                    "official": 1.0,
                    "type": "causal_sequence",
                }
                rows.append(
                    {
                        "doc_id": len(rows),
                        "target": "none",
                        "filtered_resps": ["nothing"],
                        "filter": "none",
                        "centerbench_score": record["score"],
                        "centerbench_acc": record,
                    }
                )
    random.Random(0).shuffle(rows)
    results: dict = {
        f"{harness.replace('-', '_')}_version": "0",
        "results": {task: {"centerbench_score,none": 0.5} for task in tasks},
        "configs": {task: {} for task in tasks},
        "config": {"model": "causal", "model_args": "pretrained=x,interventions=vcd"},
    }
    time = "2026-11-24T00-00-00.000000"
    name = f"results_{time}.json" if harness == "lm-eval" else "20261124_000000_results.json"
    (folder / name).write_text(json.dumps(results), encoding="utf-8")
    for task in tasks:
        file = f"samples_{task}_{time}.jsonl"
        if harness == "lmms-eval":
            file = f"20261124_000000_samples_{task}.jsonl"
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / file).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("harness", ["lm-eval", "lmms-eval"])
def test_the_curve_of_a_run_and_its_leniency(
    harness: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = _write_run(tmp_path / "run", harness)
    picture = tmp_path / "gap.png"
    assert main(["centerbench", "curve", str(run), "--png", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("run [vcd]: 120 answers")
    rows = [line.split() for line in lines[2:8]]
    assert [row[:4] for row in rows] == [
        [str(k), "100.00", f"{100 - 10 * k}.00", f"+{10 * k}.00"] for k in LEVELS
    ]
    bars = [line.rpartition("|")[2] for line in lines[2:8]]
    assert [len(bar) for bar in bars] == sorted({len(bar) for bar in bars}) and len(bars[-1]) == 20
    text = "\n".join(lines)
    assert "slope per level  +10.00" in text and "median of levels  +35.00" in text
    assert "published matcher accepts 100.00 %, the strict scorer 82.50 %: +17.50 points" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_two_runs_make_two_curves(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [_write_run(tmp_path / name, "lm-eval") for name in ("a", "b")]
    assert main(["centerbench", "curve", *map(str, runs), "--type", "causal_sequence"]) == 0
    assert capsys.readouterr().out.count("slope per level  +10.00") == 2
    assert main(["centerbench", "curve", str(runs[0]), "--type", "entity_count"]) == 0
    assert "all answers     n/a" in capsys.readouterr().out


def test_a_gap_to_the_other_side_is_a_bar_to_the_left() -> None:
    bars = [centerbench._bar(share) for share in (-1, -0.5, 0, 0.5, 1)]
    assert bars == ["#" * 20 + "|", " " * 10 + "#" * 10 + "|", " " * 20 + "|"] + [
        " " * 20 + "|" + "#" * length for length in (10, 20)
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--type", "causal"], "--type causal: there are action_performed"),
        (["--png", "no/such/folder/x.png"], "--png no/such/folder/x.png: cannot be written"),
        (["--task", "centerbench_think"], "no samples of centerbench_think; there are those of"),
        ([], "several CenterBench tasks (centerbench, centerbench_no_think)"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    both = ("centerbench", "centerbench_no_think")
    tasks = both[:1] if "--png" in arguments else both
    run = _write_run(tmp_path / "run", "lm-eval", tasks)
    assert main(["centerbench", "curve", str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_audit_prints_what_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    sentence = {
        "id": "complexity_1_sentence_1",
        "sentence": "The kettle that the cook heated boiled over.",
        "structure": [{"subject": "kettle"}, {"subject": "cook"}],
        "middle_entity": "kettle",
        "questions_by_entity": {
            "kettle": _questions("boil over", "the cook", "boiled over", None, "none"),
            "cook": _questions(
                "heat the kettle", "the kettle", "boiled over", "no prior events", ""
            ),
        },
    }
    for subset in ("plausible", "implausible"):
        text = json.dumps({"complexity_1": {"sentences": [sentence]}})
        (tmp_path / f"{subset}_subset.json").write_text(text, encoding="utf-8")
    monkeypatch.setenv("CENTERBENCH_DIR", str(tmp_path))
    monkeypatch.setenv("CENTERBENCH_CHECKSUMS", "off")
    assert main(["centerbench", "audit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("24 questions") and "published" not in lines[1]
    assert lines[-2].endswith("right answers (100.00 %)")
    assert lines[-1].startswith("strict scorer accepts 0 of ")
    table = "\n".join(centerbench.audit(lambda text, reference, kind: True))
    assert "published matcher accepts" in table and table.endswith("wrong answers (100.00 %)")
    assert main(["centerbench", "audit", "--limit", "0"]) == 2
    monkeypatch.setenv("CENTERBENCH_SPACY_MODEL", "no_such_model")
    assert main(["centerbench", "audit", "--official"]) == 2
    assert "published matcher of CenterBench cannot be used" in capsys.readouterr().err


def _questions(action: str, agent: str, nested: str, chain: str | None, after: str) -> list[dict]:
    answers = {
        "action_performed": action,
        "agent_identification": agent,
        "entity_count": "2",
        "nested_dependency": nested,
        "causal_sequence": chain or "the cook heating the kettle",
        "chain_consequence": after or "the kettle boiled over",
    }
    return [
        {"type": kind, "question": f"{kind} of {action}?", "answer": answer}
        for kind, answer in answers.items()
    ]
