"""Every wrong model argument is one line that names it, before any weights load."""

from __future__ import annotations

import json

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.models.arguments import Arguments
from lmms_causal.models.for_lmms_eval import Causal
from lmms_causal.models.loading import available_device


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch):
    from transformers import PreTrainedModel

    def explode(*_, **__):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", explode)


@pytest.mark.parametrize(
    "argument, message",
    [
        ("interventions=vdc", "unknown intervention 'vdc' .did you mean 'vcd'"),
        ("interventions=vcd(alpha=-1)", "alpha=-1.0 must be 0 or more"),
        ("interventions=vcd(alpha=x)", "alpha=x is not a number"),
        ("interventions=vcd(alpa=1)", "unknown parameter 'alpa' .did you mean 'alpha'"),
        ("interventions=vcd(alpha=1", "cannot read"),
        ("intervention=vcd", "'intervention' is unknown .did you mean 'interventions'"),
        ("dtype=float23", "dtype=float23 is not a torch dtype"),
        ("dtype=16", "dtype=16 is not a torch dtype"),
        ("attn_implementation=flash", "attn_implementation=flash is unknown"),
        ("device=gpu", "device=gpu"),
        ("device=cuda:9", "device=cuda:9"),
        ("adapter=/no/adapter", "adapter=/no/adapter is no PEFT adapter"),
        ("batch_size=0", "batch_size=0 must be a whole number of 1 or more"),
        ("batch_size=auto", "batch_size=auto must be a whole number"),
        ("num_frames=many", "num_frames=many must be a whole number"),
        ("seed=-3", "seed=-3.* must be a whole number of 0 or more"),
        ("chat_template=/no/file", "chat_template=/no/file: there is no such file"),
        ("base=lava_hf", "base=lava_hf: lmms-eval has no such model .did you mean 'llava_hf'"),
    ],
)
def test_it_is_one_line(saved, argument, message):
    if argument == "device=cuda:9" and torch.cuda.device_count() > 9:
        pytest.skip("this machine has ten CUDA devices")
    with pytest.raises(UserError, match=message) as caught:
        Causal.create_from_arg_string(f"pretrained={saved('llava')},{argument}", None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pretrained", ["/no/folder", "nobody/nothing"])
def test_a_missing_checkpoint_names_the_bundled_one(pretrained):
    with pytest.raises(UserError, match=f"pretrained={pretrained}.*lmms-causal/tiny-llava"):
        Causal.create_from_arg_string(f"pretrained={pretrained}", None)


def test_no_checkpoint_at_all_is_said():
    with pytest.raises(UserError, match="pretrained=MODEL is missing"):
        Causal.create_from_arg_string("", {"batch_size": 1})


def test_a_checkpoint_that_is_no_language_model_is_refused(tmp_path):
    config = {"model_type": "vit", "architectures": ["ViTModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="ViTConfig is neither"):
        Causal.create_from_arg_string(f"pretrained={tmp_path}", None)


def test_a_folder_without_weights_is_one_line(saved, tmp_path, monkeypatch):
    import shutil

    monkeypatch.undo()
    folder = tmp_path / "bare"
    shutil.copytree(saved("llava"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model = Causal.create_from_arg_string(f"pretrained={folder}", None)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        _ = model.model
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_processor_is_one_line(tmp_path):
    import shutil

    from lmms_causal import tiny_llava

    shutil.copytree(tiny_llava.path(), tmp_path / "model")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "model" / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="its processor cannot be loaded") as caught:
        Arguments.read({"pretrained": str(tmp_path / "model")}).encoder()
    assert "\n" not in str(caught.value)


def test_none_means_the_default_for_every_argument(saved):
    names = ("interventions", "system_prompt", "chat_template", "adapter", "dtype", "device")
    given = {"pretrained": saved("llava"), **dict.fromkeys(names, "None")}
    assert Arguments.read(given) == Arguments.read({"pretrained": saved("llava")})


def test_arguments_reach_checkpoint_processor_and_model(saved):
    given = {"pretrained": saved("qwen2_5_vl"), "min_pixels": 784, "batch_size": "4", "seed": 7}
    arguments = Arguments.read({**given, "max_batch_size": 64, "revision": 5})
    assert arguments.checkpoint.processor == {"min_pixels": 784}
    assert (arguments.batch_size, arguments.seed) == (4, 7)
    assert arguments.checkpoint.place() == available_device()
    assert arguments.encoder().processor.image_processor.size["shortest_edge"] == 784


@pytest.mark.parametrize("name", ["lmms-causal/tiny-lava", "lmms-causal/tinyllava"])
def test_the_bundled_model_misspelt_is_told_without_asking_the_hub(name, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", asked)
    with pytest.raises(UserError, match="did you mean 'lmms-causal/tiny-llava', which is bundled"):
        Causal.create_from_arg_string(f"pretrained={name}", None)
