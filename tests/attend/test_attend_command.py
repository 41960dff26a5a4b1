"""``lmms-causal attend`` on checkpoints on disk: files, pictures, effects, and what is refused."""

from __future__ import annotations

import builtins
import json

import pytest
from PIL import Image

from lmms_causal.attend.analyses import ANALYSES
from lmms_causal.attend.effects import ablation
from lmms_causal.cli import main
from lmms_causal.interventions import apply
from lmms_causal.testing import picture

RESPONSE = (
    "It is red. The wind is the cause. Did it fall? No, the cup is open. The boy was there. "
    "He read it again. The ball is in the box. So the answer is B. Yes. It was described before."
)


def run(folder, *options):
    return main(["attend", str(folder), "--device", "cpu", *map(str, options)])


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1 and "Traceback" not in captured.err
    return captured.err.splitlines()[-1]


@pytest.fixture
def scene(tmp_path):
    file = tmp_path / "scene.png"
    picture(3, 60, 44).save(file)
    return file


def test_a_picture_and_an_answer_become_tables_and_pictures(saved, scene, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="drawing needs Matplotlib")
    out = tmp_path / "out"
    options = ("--image", scene, "--prompt", "Is it red?", "--response", RESPONSE)
    every = ",".join(name for name in ANALYSES if name not in ("importance",))
    code = run(saved("llava"), *options, "--statistics", every, "--output", out, "--pictures")
    assert code == 0
    printed = capsys.readouterr().out
    assert "masses (1 trace)" in printed and "files written to" in printed
    drawn = {file.name for file in (out / "pictures").iterdir()}
    assert {
        "prompt_heat.png",
        "prompt_sentences.png",
        "prompt_suppression.png",
        "prompt_rhythm.png",
        "heads_kurtosis.png",
        "heads_mass_image.png",
    } <= drawn
    for name in drawn:
        with Image.open(out / "pictures" / name) as shown:
            assert len(set(shown.convert("L").resize((64, 64)).tobytes())) > 4, name
    (row,) = map(json.loads, (out / "traces.jsonl").read_text().splitlines())
    assert row["model"] == saved("llava") and row["n_sentences"] == 10
    assert set(row) >= set(every.split(","))


def test_documents_and_made_up_texts(saved, tmp_path, capsys):
    file = tmp_path / "documents.jsonl"
    lines = [{"prompt": "Why?", "response": RESPONSE}, {"id": "b", "prompt": "Is it red?"}]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert run(saved("llama"), "--documents", file, "--generate", 4, "--output", tmp_path) == 0
    rows = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    assert [row["trace_id"] for row in rows] == ["1", "b"]
    assert "receiver" in rows[0] and "receiver" not in rows[1]
    capsys.readouterr()
    options = ("--haystack", "200,260", "--depths", 2, "--generate", 3)
    assert run(saved("llama"), *options, "--statistics", "retrieval") == 0
    assert "runs: 4" in capsys.readouterr().out


def test_interventions_are_analysed_as_they_run(saved, capsys):
    prompt = ("--prompt", "Is it red?", "--generate", 3, "--statistics", "masses")
    assert run(saved("qwen2"), *prompt, "--interventions", "re2") == 0
    assert "interventions=re2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--haystack", "99", "--image", "x.png"), "--image goes with --prompt"),
        (("--prompt", "x", "--response", "y", "--generate", 3), "use one of them"),
        (("--prompt", "x", "--statistics", "mases"), "did you mean 'masses'"),
        (("--prompt", "x", "--set", "windw=3"), "did you mean 'window'"),
        (("--prompt", "x", "--pictures"), "add --output DIR"),
        (("--prompt", "x", "--generate", -1), "0 or more tokens"),
        (("--haystack", "many"), "give lengths in tokens"),
        (("--haystack", "512,²"), "give lengths in tokens"),
        (("--haystack", "512", "--depths", 0), "--depths 0"),
        (("--haystack", "5"), "has no room for the needle"),
        (("--prompt", "x", "--image", "none.png"), "--image none.png: there is no such file"),
        (("--prompt", "x", "--image", __file__), "is no picture that can be read"),
        (("--documents", "nowhere.jsonl"), "cannot be read (No such file or directory)"),
        (("--effect", "causal_vqa_mini_choice", "--heads", "99.0"), "--heads 99.0: layer 99"),
        (("--effect", "causal_vqa_mini_choice", "--heads", "77"), "--heads 77: head 77"),
        (("--effect", "causal_vqa_mini_choice", "--heads", "x"), "--heads x names heads as"),
        (("--effect", "x", "--statistics", "masses"), "has no meaning with --effect"),
        (("--prompt", "x", "--interventions", "best_of_n(n=2)"), "more than one question"),
        (("--prompt", "x", "--statistics", "heat"), "it shows 0 pictures"),
    ],
)
def test_a_mistake_is_one_line(options, message, saved, capsys):
    assert run(saved("llava"), *options) == 2
    line = one_line(capsys)
    assert message in line and "[Errno" not in line


@pytest.mark.parametrize(
    "options",
    [
        ("--prompt", "x", "--image", "none.png"),
        ("--prompt", "x", "--image", __file__),
        ("--documents", "PICTURES"),
        ("--haystack", "many"),
        ("--haystack", "5"),
        ("--effect", "causal_vqa_mini_choice", "--heads", "99.0"),
    ],
)
def test_it_is_told_before_weights_are_loaded(options, saved, capsys, monkeypatch, tmp_path):
    def explode(*_, **__):
        raise AssertionError("the weights were loaded")

    file = tmp_path / "documents.jsonl"
    file.write_text('{"prompt": "x", "image": "none.png"}')
    options = [str(file) if word == "PICTURES" else word for word in options]
    folder = saved("llava")
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", explode)
    assert run(folder, *options) == 2
    assert "the weights were loaded" not in one_line(capsys)


def test_without_matplotlib_pictures_are_refused_before_anything_is_loaded(
    tmp_path, monkeypatch, capsys
):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    code = run(tmp_path / "no model", "--prompt", "x", "--output", tmp_path, "--pictures")
    assert code == 2 and "pip install 'lmms-causal[plots]'" in one_line(capsys)


@pytest.mark.slow
def test_effects_of_heads_on_a_task(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="drawing needs Matplotlib")
    out = tmp_path / "out"
    task = ("--effect", "causal_vqa_mini_presence_choice", "--metric", "causal_score")
    options = ("--heads", "0.1,2.0-1", "--limit", 12, "--batch-size", 4, "--ablation", "uniform")
    code = run("lmms-causal/tiny-llava", *task, *options, "--output", out, "--pictures")
    assert code == 0
    found = json.loads((out / "effects.json").read_text())
    assert found["ablation"] == "uniform" and found["metric"] == "causal_score"
    heads = {(it["layer"], it["head"]) for it in found["effects"]}
    assert heads == {(0, 1), (2, 0), (2, 1)}
    assert all(it["documents"] == 12 and -1 <= it["mean"] <= 1 for it in found["effects"])
    assert (out / "effects.parquet").is_file() and (out / "pictures" / "effects.png").is_file()
    assert "uniform ablation of one head" in capsys.readouterr().out
    capsys.readouterr()
    assert run("lmms-causal/tiny-llava", "--effect", "causal_vqa_mini_presenc") == 2
    assert "did you mean 'causal_vqa_mini_presence'" in one_line(capsys)


@pytest.mark.parametrize("kind", ["zero", "uniform"])
def test_an_ablated_head_puts_out_nothing_or_the_mean_of_values(kind, subject, asked):
    """Seen at the input of the output projection; other heads of the first layer say the same."""
    one = subject("llama")
    trace = one.trace(asked("llama", response="It is red."))
    module, width = one.adapter.attention[0], one.adapter.attention[0].head_dim
    seen = []
    hooks = [
        module.o_proj.register_forward_pre_hook(lambda module, given: seen.append(given[0][0])),
        module.v_proj.register_forward_hook(lambda module, given, out: seen.append(out[0])),
    ]
    try:
        one.model(**trace.inputs)
        with apply(one.model, ablation(0, 2, kind), one.encoder.tokenizer):
            one.model(**trace.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    values, plain, _, edited = seen
    head = slice(2 * width, 3 * width)
    others = [i for i in range(plain.shape[1]) if not head.start <= i < head.stop]
    assert (plain[:, others] - edited[:, others]).abs().max() < 1e-5
    group = values[:, width : 2 * width]  # of two key heads, the third query head reads the second
    count = 1 + 0 * group.cumsum(0)
    expected = group.cumsum(0) / count.cumsum(0) if kind == "uniform" else 0 * group
    assert (edited[:, head] - expected).abs().max() < 1e-5
