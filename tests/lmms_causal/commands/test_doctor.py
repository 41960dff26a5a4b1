"""``lmms-causal doctor``: what it finds in checkpoints on disk, and what it says if off is not."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import torch
import transformers

from lmms_causal import doctor, tiny_llava
from lmms_causal.cli import main
from lmms_causal.interventions import Branch, Plan, registry
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Replace
from lmms_causal.interventions.engine.guards import obstacle
from lmms_causal.testing import build, save


def examined(folder, tmp_path, *options):
    """The exit code and the findings."""
    out = tmp_path / "findings.json"
    code = main(["doctor", str(folder), "--device", "cpu", "--json", str(out), *options])
    return code, json.loads(out.read_text())


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1 and "Traceback" not in captured.err
    assert not captured.out
    return captured.err.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told_with_a_remedy(saved, capsys):
    assert main(["doctor", saved("llava"), "--device", "cuda"]) == 2
    line = one_line(capsys)
    assert "device=cuda: torch finds no CUDA GPU here; use cpu" in line and "http" not in line


def test_a_vision_model_s_parts_and_that_off_is_off(saved, tmp_path, capsys):
    code, found = examined(saved("qwen2_vl"), tmp_path)
    assert code == 0
    expected = {
        "family_entry": "qwen2_vl",
        "decoder": "Qwen2VLTextModel",
        "decoder_layers": 2,
        "attention_implementation": "sdpa",
        "final_norm": "Qwen2VLRMSNorm",
        "vision_encoder": "Qwen2VisionTransformerPretrainedModel",
        "vision_blocks": 2,
        "projector": "PatchMerger",
    }
    assert {name: found["found"][name] for name in expected} == expected
    assert set(found["found"]["visual_tokens"].values()) == {"<|image_pad|>", "<|video_pad|>"}
    assert set(found["found"]["markers"].values()) == {"<|vision_start|>", "<|vision_end|>"}
    assert [it["name"] for it in found["interventions"]] == list(registry.names())
    assert {it["name"]: it["obstacle"] for it in found["interventions"]}["vcd"] is None
    verdicts = {it["check"]: it["verdict"] for it in found["off"]}
    assert all(verdict.startswith("bit-identical") for verdict in verdicts.values())
    assert verdicts["after vcd, removed"] == "bit-identical"  # and it had an effect before
    assert "2 of 2 layers reached" in verdicts["attention weights read, vision encoder"]
    printed = capsys.readouterr().out
    assert "projector" in printed and "after vcd, removed" in printed
    assert printed.count("bit-identical") == len(verdicts) == 7


def test_a_text_model_gets_the_reason_where_a_method_does_not_apply(saved, tmp_path, capsys):
    code, found = examined(saved("llama"), tmp_path)
    assert code == 0
    assert found["found"]["family_entry"] == "introspected"
    assert found["found"]["vision_encoder"] is None and found["found"]["visual_tokens"] == {}
    assert (found["found"]["attention_heads"], found["found"]["key_value_heads"]) == (4, 2)
    obstacles = {it["name"]: it["obstacle"] for it in found["interventions"]}
    assert obstacles["re2"] is None and "reads text only" in obstacles["vcd"]
    assert all(it["identical"] for it in found["off"])
    assert not any("vision" in it["check"] for it in found["off"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    assert ["re2", "applies"] in lines and ["vcd", f"no: {obstacles['vcd']}"] in lines


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "idefics3"])
def test_off_is_off_in_explicit_attention_and_half_precision(family, saved, tmp_path):
    options = ("--attn-implementation", "eager", "--dtype", "bfloat16")
    code, found = examined(saved(family), tmp_path, *options)
    assert code == 0 and all(it["identical"] for it in found["off"])
    assert found["found"]["attention_implementation"] == "eager"
    assert found["found"]["dtype"] == "bfloat16"


def test_the_bundled_model_goes_by_its_name(tmp_path):
    code, found = examined(tiny_llava.NAME, tmp_path)
    assert code == 0 and found["model"] == tiny_llava.NAME
    assert found["found"]["visual_tokens"] == {"4": "<image>"}


def test_a_difference_is_measured_and_ends_with_code_1(saved, tmp_path, monkeypatch, capsys):
    @contextmanager
    def leaking(modules, parts):
        with torch.no_grad():
            modules[0].o_proj.weight.add_(1e-4)
        yield

    monkeypatch.setattr(doctor, "editing", leaking)
    code, found = examined(saved("llama"), tmp_path)
    assert code == 1
    failed = next(it for it in found["off"] if it["check"] == "neutral attention switch, decoder")
    assert failed["identical"] is False and 0 < failed["max_abs_difference"] < 1
    assert "max abs difference" in capsys.readouterr().out


def test_a_failure_inside_a_check_is_a_failed_check(saved, tmp_path, monkeypatch):
    def broken(model, spec, processor=None):
        raise RuntimeError("no such layer\nsecond line")

    monkeypatch.setattr(doctor, "apply", broken)
    code, found = examined(saved("llama"), tmp_path)
    assert code == 1
    verdicts = {it["check"]: it["verdict"] for it in found["off"]}
    assert verdicts["under 'none'"] == "failed; RuntimeError: no such layer"


def test_attention_that_cannot_be_edited_is_said_and_is_no_failure(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "not_editable", lambda modules: "attn_implementation=other: no")
    code, found = examined(saved("llama"), tmp_path)
    assert code == 0
    assert found["off"][-1]["identical"] is None
    assert found["off"][-1]["verdict"] == "not measured: attn_implementation=other: no"


def test_a_plan_that_edits_attention_does_not_apply_to_a_fused_kernel(monkeypatch):
    adapter = ModelAdapter.of(*build("llama"))
    edit = AttentionEdit(Replace(lambda weights, allowed, where: weights))
    plan = Plan(branches=(Branch("edited", attention=(edit,), without_image=None),))
    assert obstacle(plan, adapter) is None
    config = adapter.attention[0].config
    monkeypatch.setattr(config, "_attn_implementation_internal", "flash_attention_2")
    assert "load the model with attn_implementation=sdpa" in obstacle(plan, adapter)


def test_numbers_that_are_none_are_compared_by_their_bits():
    values = torch.tensor([[float("nan"), 1.0]])
    assert doctor._same_bits(values, values.clone())
    assert not doctor._same_bits(values, torch.tensor([[float("nan"), -1.0]]))
    assert not doctor._same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


def test_an_unknown_checkpoint_is_one_line(capsys):
    assert main(["doctor", "nobody/nothing"]) == 2
    assert one_line(capsys).startswith("error: pretrained=nobody/nothing: cannot read")


def test_another_kind_of_model_is_one_line(tmp_path, capsys):
    config = transformers.T5Config(vocab_size=32, d_model=8, d_ff=8, num_layers=1, num_heads=1)
    config.save_pretrained(tmp_path)
    assert main(["doctor", str(tmp_path)]) == 2
    assert "neither an image-text-to-text nor a causal language model" in one_line(capsys)


def test_a_state_space_model_is_one_line(tmp_path, capsys):
    _, tokenizer = build("llama")
    config = transformers.MambaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    capsys.readouterr()
    assert main(["doctor", str(tmp_path), "--device", "cpu"]) == 2
    assert "MambaForCausalLM does not keep past_key_values" in one_line(capsys)


def test_a_missing_template_is_said_before_weights_load(tmp_path, capsys):
    folder = save("llava", tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    (folder / "model.safetensors").unlink()
    capsys.readouterr()
    assert main(["doctor", str(folder)]) == 2
    assert "no chat template" in one_line(capsys)
    assert main(["doctor", str(folder), "--chat-template", str(folder / "none.jinja")]) == 2
    assert "none.jinja: cannot be read" in one_line(capsys)


def test_a_report_that_cannot_be_written_is_one_line(saved, tmp_path, capsys):
    target = tmp_path / "no" / "out.json"
    assert main(["doctor", saved("llama"), "--device", "cpu", "--json", str(target)]) == 2
    assert "out.json: cannot be written" in capsys.readouterr().err
