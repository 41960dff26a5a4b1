"""From traces to findings: what each analysis says, against the same from the full matrix."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from lmms_causal.attend.analyses import ANALYSES, importance
from lmms_causal.attend.findings import Settings
from lmms_causal.attend.reading import Wanted, read
from lmms_causal.attend.running import analyse
from lmms_causal.attend.traces import PARTS
from lmms_causal.attend.writing import heads_table, rows, tokens_table, write
from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.anchors import Rollout
from lmms_causal.interventions.analysis.receiver import kurtosis, vertical_scores
from lmms_causal.kernels.statistics import Selected

EVERYTHING = [name for name in ANALYSES if name != "importance"]


def matrix(one, trace):
    wanted = {"w": Wanted(lambda: Selected(torch.arange(trace.length)))}
    return read(one, trace, wanted)["w"].double()


def close(found, expected):
    """Equal in float32, where values are of order one or, as distances, of ten."""
    torch.testing.assert_close(
        found.float(), expected.float(), atol=1e-5, rtol=1e-4, equal_nan=True
    )


@pytest.fixture
def analysed(subject, asked, answer):
    one = subject("llava")
    documents = [
        asked("llava", response=answer, needle="in the box"),
        asked("llava", id="two", response=answer.replace("wind", "boy"), needle="Why?"),
    ]
    return one, analyse(one, documents, names=EVERYTHING, settings=Settings(low=1, high=6))


def test_findings_are_those_of_the_full_matrix(analysed):
    one, results = analysed
    trace = results.traces[1]
    weights = matrix(one, trace)
    found = {name: findings[1] for name, findings in results.findings.items()}

    image = trace.parts == PARTS.index("image")
    on_image = weights[:, :, trace.predicting][..., image].sum(-1).mean(-1)
    close(found["masses"].heads["mass_image"], on_image)
    assert found["masses"].record["mean"]["image"] == pytest.approx(float(on_image.mean()))

    received = weights.sum(2) / torch.arange(trace.length, 0, -1)
    close(found["sinks"].tokens["received"], received.mean((0, 1)))

    spans = [sentence.tokens for sentence in trace.sentences]
    blocks = torch.stack(
        [
            torch.stack([weights[:, :, a:b, c:d].mean((-2, -1)) for c, d in spans], dim=-1)
            for a, b in spans
        ],
        dim=-2,
    )
    vertical = vertical_scores(blocks)
    close(found["receiver"].arrays["vertical"], vertical)
    close(found["receiver"].heads["kurtosis"], kurtosis(vertical))

    places = torch.arange(trace.length)
    gaps = places[:, None] - places
    answer = weights[:, :, trace.written]
    span = (answer * gaps[trace.written].clamp(min=0)).sum(-1).mean(-1)
    close(found["rhythm"].heads["span"], span)
    local = [tuple(it) for it in results.summaries["rhythm"]["local_heads"]]
    assert len(local) == int(0.3 * span.numel())
    waad = torch.stack(
        [(answer[at] * gaps[trace.written].clamp(0, 10)).sum(-1) for at in local]
    ).mean(0)
    close(found["rhythm"].tokens["waad"][trace.written], waad)
    assert found["rhythm"].tokens["waad"][: trace.start].isnan().all()
    far = [tuple(it) for it in results.summaries["rhythm"]["global_heads"]]
    mean = torch.stack([weights[at] for at in far]).mean(0)
    fai = [
        mean[max(s + 1, trace.start) : s + 7, s].mean() for s in range(trace.start, trace.length)
    ]
    close(found["rhythm"].tokens["fai"][trace.written], torch.stack(fai))

    height, width = found["heat"].record["grid"]
    heat = weights[:, :, trace.predicting][..., image].mean((1, 2)).view(-1, height, width)
    close(found["heat"].arrays["heat"], heat)

    strongest = weights[:, :, trace.predicting].argmax(-1)
    close(found["retrieval"].heads["looks_at_picture"], image[strongest].float().mean(-1))


def test_what_is_over_all_traces_is_put_into_each_of_them(analysed):
    _, results = analysed
    heads = results.summaries["receiver"]["layers_heads"]
    assert 0 < len(heads) <= 8 and -1 <= results.summaries["receiver"]["reliability"] <= 1
    for trace, one in zip(results.traces, results.findings["receiver"], strict=True):
        assert one.record["layers_heads"] == heads
        scores = torch.tensor(one.record["score"])
        picked = torch.stack([one.arrays["vertical"][layer, head] for layer, head, _ in heads])
        torch.testing.assert_close(scores, picked.mean(0), equal_nan=True)
        assert scores.isnan().tolist() == [False] * (len(trace.sentences) - 4) + [True] * 4
    assert results.summaries["retrieval"]["runs"] == 2
    assert results.summaries["retrieval"]["counted"] == 1, "one answer repeats its needle"


def test_suppression_and_divergence_say_something_about_every_sentence_and_token(analysed):
    one, results = analysed
    trace, found = results.traces[0], results.findings["suppression"][0].record
    values = torch.tensor(found["matrix"])
    count = len(trace.sentences)
    known = ~values.isnan()
    assert torch.equal(known, torch.ones(count, count, dtype=torch.bool).tril(-1))
    assert (found["n_layers"], found["n_heads"]) == (one.adapter.depth, one.heads)
    assert values[known].min() >= math.log(1e-9) - 1e-6 and values[known].max() < 5
    divergence = results.findings["divergence"][0]
    assert (divergence.tokens["t_vhd"][trace.written] > 0).all()
    assert divergence.tokens["t_vhd"][: trace.start].isnan().all()
    assert (divergence.heads["divergence"] > 0).all()


def test_a_trace_without_a_picture_has_no_divergence(subject, asked, answer):
    one = subject("llava")
    results = analyse(one, [asked("llava", images=(), response=answer)])
    assert results.skipped["divergence"] == {"one": "it shows no picture"}
    assert "divergence" not in results.findings and "suppression" not in results.findings
    with pytest.raises(UserError, match="divergence applies to no document: one: it shows no"):
        analyse(one, [asked("llava", images=(), response=answer)], names=["divergence"])


def test_an_answer_that_is_missing_is_asked_for(subject, asked):
    with pytest.raises(UserError, match="its answer has 0 tokens; add --response or --generate"):
        analyse(subject("llama"), [asked("llama")], names=["rhythm"])
    results = analyse(subject("llama"), [asked("llama")])
    assert set(results.findings) == {"masses", "sinks"}


def test_documents_keep_their_places_where_an_analysis_applies_to_some(subject, asked, answer):
    one = subject("llava")
    plain = asked("llava", id="plain", images=(), response=answer)
    results = analyse(one, [plain, asked("llava", response=answer)])
    assert [it is None for it in results.findings["heat"]] == [True, False]
    table = heads_table(results)
    shown = [value is not None for value in table["divergence"]]
    assert shown == [name == "one" for name in table["trace_id"]]


def test_importance_comes_from_rollouts(subject, asked, monkeypatch):
    words = ("red", "wind", "fell")
    monkeypatch.setattr(
        importance,
        "embedded",
        lambda texts: torch.tensor([[float(word in text) for word in words] for text in texts]),
    )
    before = (Rollout("It is red.", "A", True), Rollout("The wind.", "B", False))
    behind = (Rollout("It fell.", "A", True), Rollout("It fell.", "A", True))
    document = asked("llama", response="It is red. It fell.", rollouts=(before, behind))
    results = analyse(subject("llama"), [document])
    record = results.findings["importance"][0].record
    assert record["by"] == "correct" and record["n_rollouts"] == [2, 2]
    assert record["resampling_acc"][0] == 0.5 and math.isnan(record["resampling_acc"][1])
    assert record["acc"][0] == -1.0 and record["frac_different"][0] == 0.5
    assert record["over_determination"] == [0.0, 0.5]
    (row,) = rows(results)
    assert row["counterfactual"] is record
    wrong = asked("llama", response="It is red.", rollouts=(before, behind, behind))
    with pytest.raises(UserError, match="rollouts for 3 sentences, and its answer has 1"):
        analyse(subject("llama"), [wrong], names=["importance"])


def test_tables_and_records_say_the_same(analysed, tmp_path):
    import pyarrow.parquet as pq

    one, results = analysed
    files = {file.name: file for file in write(results, tmp_path)}
    assert set(files) == {
        "summary.json",
        "traces.jsonl",
        "heads.parquet",
        "tokens.parquet",
        "one.npz",
        "two.npz",
    }
    lines = [json.loads(line) for line in files["traces.jsonl"].read_text().splitlines()]
    trace = results.traces[1]
    assert [line["trace_id"] for line in lines] == ["one", "two"]
    assert lines[1]["n_sentences"] == len(lines[1]["sentences"]) == 12
    for it in lines[1]["sentences"]:
        assert lines[1]["answer"][slice(*it["char"])].strip() == it["text"]
        assert one.encoder.tokenizer.decode(trace.ids[slice(*it["tok"])]).strip() == it["text"]
    assert lines[1]["receiver"]["score"][-4:] == [None] * 4
    assert (
        lines[1]["suppression"]["log"] is True and lines[1]["suppression"]["matrix"][0][0] is None
    )
    assert {line["config_hash"] for line in lines} == {results.config_hash}
    heads = pq.read_table(files["heads.parquet"]).to_pydict()
    assert (
        heads == heads_table(results) and len(heads["layer"]) == 2 * one.adapter.depth * one.heads
    )
    tokens = pq.read_table(files["tokens.parquet"]).to_pydict()
    assert tokens == tokens_table(results)
    assert (
        "".join(
            t for t, p in zip(tokens["text"], tokens["part"], strict=True) if p == "answer"
        ).count("cup")
        == 4
    )
    with np.load(files["two.npz"]) as arrays:
        assert arrays["receiver_vertical"].shape == (one.adapter.depth, one.heads, 12)
        assert {"heat", "suppression", "suppression_relative"} <= set(arrays)
    summary = json.loads(files["summary.json"].read_text())
    assert summary["findings"]["retrieval"]["counted"] == 1
    assert summary["settings"]["high"] == 6


def test_the_hash_tells_settings_and_models_apart(subject, asked, answer):
    document = asked("llama", response=answer)
    made = [
        analyse(subject(family), [document], names=["masses"], settings=settings).config_hash
        for family in ("llama", "qwen2")
        for settings in (Settings(), Settings(window=5))
    ]
    assert len(set(made)) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("windw=3", r"unknown \(did you mean 'window'\?\)"),
        ("window=x", "must be a whole number"),
        ("share=0.7", "from 1e-09 to 0.5"),
        ("low=60", "from 0 to 50"),
        ("temperature=0", "or more"),
    ],
)
def test_numbers_in_definitions_are_checked(given, message):
    with pytest.raises(UserError, match=message):
        Settings.read([given])
    assert Settings.read(["window=3", "share=0.2"]) == Settings(window=3, share=0.2)
