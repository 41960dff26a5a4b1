"""A checkpoint as LLaVA's own code saves it, against what that code computes from its parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tr
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.interventions import apply
from lmms_causal.models.original_llava import convert
from lmms_causal.testing import Prompt, encode, picture
from lmms_causal.testing.sizes import PATCHES, TILE, TILE_SIZE, WIDTH, text_sizes, tower_sizes
from lmms_causal.testing.tokenizer import build_tokenizer
from lmms_causal.testing.weights import randomise

_MM = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "image_aspect_ratio": "pad",
    "mm_hidden_size": 24,
    "mm_use_im_start_end": False,
    "model_type": "llava_llama",
    "architectures": ["LlavaLlamaForCausalLM"],
}


class Original:
    """Tower, projector and language model, and the folder that holds them in LLaVA's layout."""

    def __init__(self, folder: Path) -> None:
        tokenizer = build_tokenizer(bos="<s>", eos="</s>", pad="<unk>")
        sizes = text_sizes(tokenizer, num_key_value_heads=4)
        self.language = tr.LlamaForCausalLM(tr.LlamaConfig(**sizes)).eval()
        self.tower = tr.CLIPVisionModel(tr.CLIPVisionConfig(**tower_sizes())).eval()
        self.projector = nn.Sequential(nn.Linear(24, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        for seed, part in enumerate((self.language, self.tower, self.projector)):
            randomise(part, seed=seed)
        self.folder, self.clip = folder / "llava", folder / "clip"
        self.tower.save_pretrained(self.clip)
        tr.CLIPImageProcessor(size={"shortest_edge": TILE}, crop_size=TILE_SIZE).save_pretrained(
            self.clip
        )
        self.language.save_pretrained(self.folder)
        tokenizer.save_pretrained(self.folder)
        config = json.loads((self.folder / "config.json").read_text())
        self.configure(**{**config, **_MM, "mm_vision_tower": str(self.clip)})
        weights = {
            f"model.mm_projector.{k}": v.contiguous()
            for k, v in self.projector.state_dict().items()
        }
        buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
        save_file({**weights, **buffer}, self.folder / "model-projector.safetensors")

    def configure(self, **changes: Any) -> None:
        """Change the folder's configuration."""
        file = self.folder / "config.json"
        before = json.loads(file.read_text())
        file.write_text(json.dumps({**before, **changes}))

    @torch.no_grad()
    def logits(self, ids: Tensor, image: int, pixels: Tensor) -> Tensor:
        """Logits ``[L, V]``: features of the pictures in place of the placeholders."""
        states = self.tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        features = self.projector(states).flatten(0, 1)
        shown = ids == image
        embedded = self.language.get_input_embeddings()(ids.masked_fill(shown, 0))
        embedded[shown] = features
        return self.language(inputs_embeds=embedded[None]).logits[0]


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path)


def converted(folder: Path) -> tuple[Any, Any]:
    model = tr.AutoModelForImageTextToText.from_pretrained(folder)
    return model.eval(), tr.AutoProcessor.from_pretrained(folder)


def same_logits(original: Original, model: Any, processor: Any) -> None:
    prompt = Prompt("Is it red?", (picture(1, 60, 34), picture(2, 30, 30)))
    inputs = encode(processor, [prompt])
    ids, image = inputs["input_ids"][0], model.config.image_token_id
    assert int((ids == image).sum()) == 2 * PATCHES
    with torch.no_grad():
        found = model(**inputs).logits[0]
    expected = original.logits(ids, image, inputs["pixel_values"])
    known = expected.shape[1]
    torch.testing.assert_close(found[:, :known], expected, atol=1e-5, rtol=1e-5)
    mean = expected.mean(dim=1, keepdim=True).expand(-1, found.shape[1] - known)
    torch.testing.assert_close(found[:, known:], mean, atol=1e-5, rtol=1e-5)


def test_a_converted_checkpoint_has_the_logits_of_its_parts(original, tmp_path, capsys):
    target = tmp_path / "converted"
    assert main(["convert-checkpoint", str(original.folder), "--to", str(target)]) == 0
    assert capsys.readouterr().out.strip().endswith(str(target))
    model, processor = converted(target)
    assert model.config.text_config.vocab_size % 64 == 0
    same_logits(original, model, processor)
    inputs = encode(processor, [Prompt("Is it red?", (picture(1),))])
    with torch.no_grad():
        plain = model(**inputs).logits
        with apply(model, "cca", processor):
            assert (model(**inputs).logits - plain).abs().max() > 1e-3


def test_frequencies_and_further_settings_of_the_language_model_are_kept(original, tmp_path):
    base = tr.LlamaConfig.from_pretrained(original.folder).to_dict()
    base["rope_parameters"] = {"rope_type": "default", "rope_theta": 300.0}
    other = tr.LlamaForCausalLM(tr.LlamaConfig(**{**base, "rms_norm_eps": 1e-3})).eval()
    other.load_state_dict(original.language.state_dict())
    original.language = other
    config = json.loads((original.folder / "config.json").read_text())
    config.pop("rope_parameters")  # as older versions wrote it
    (original.folder / "config.json").write_text(
        json.dumps({**config, "rope_theta": 300.0, "rms_norm_eps": 1e-3})
    )
    convert(original.folder, tmp_path / "converted")
    same_logits(original, *converted(tmp_path / "converted"))


def test_pickled_shards_and_a_vision_encoder_of_its_own_are_read(original, tmp_path):
    """As older checkpoints are, and those that trained the encoder."""
    weights: dict[str, Tensor] = {}
    for file in original.folder.glob("*.safetensors"):
        weights.update(load_file(file))
        file.unlink()
    randomise(original.tower, seed=7)
    for key, value in original.tower.state_dict().items():
        name = key if key.startswith("vision_model.") else f"vision_model.{key}"
        weights[f"model.vision_tower.vision_tower.{name}"] = value
    names = sorted(weights)
    for part, keys in enumerate((names[::2], names[1::2])):
        shard = {key: weights[key] for key in keys}
        torch.save(shard, original.folder / f"pytorch_model-0000{part}-of-00002.bin")
    convert(original.folder, tmp_path / "converted")
    same_logits(original, *converted(tmp_path / "converted"))


def test_prompts_are_those_of_the_models_training(original, tmp_path):
    convert(original.folder, tmp_path / "converted")
    processor = tr.AutoProcessor.from_pretrained(tmp_path / "converted")
    text = processor.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "A cup."},
            {"role": "user", "content": "Why?"},
        ],
        add_generation_prompt=True,
    )
    head = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
    )
    assert text == head + "USER: <image>\nWhat? ASSISTANT: A cup.</s>USER: Why? ASSISTANT:"
    wide = processor.image_processor(picture(1, 60, 30), return_tensors="pt")["pixel_values"]
    edge = wide[0, :, 0].mean(dim=-1)
    assert edge.abs().max() < 0.02, "the picture is padded with the mean colour, not cropped"


def _not_llava(original: Original) -> None:
    original.configure(mm_vision_tower=None)


def _other_projector(original: Original) -> None:
    original.configure(mm_projector_type="linear")


def _tiles(original: Original) -> None:
    original.configure(image_aspect_ratio="anyres")


def _other_text(original: Original) -> None:
    original.configure(architectures=["LlavaMptForCausalLM"])


def _no_projector(original: Original) -> None:
    (original.folder / "model-projector.safetensors").unlink()


def _no_weights(original: Original) -> None:
    for file in original.folder.glob("*.safetensors"):
        file.unlink()


def _more_weights(original: Original) -> None:
    save_file({"model.resampler.x": torch.ones(1)}, original.folder / "more.safetensors")


def _no_tower(original: Original) -> None:
    shutil.rmtree(original.clip)


def _other_shape(original: Original) -> None:
    original.configure(intermediate_size=40)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_not_llava, "names no mm_vision_tower"),
        (_other_projector, "mm_projector_type=linear; only mlp2x_gelu"),
        (_tiles, "image_aspect_ratio=anyres is LLaVA-NeXT"),
        (_other_text, "architecture LlavaMptForCausalLM is not converted"),
        (_no_projector, r"have no model\.mm_projector\.0"),
        (_no_weights, "there are no weights"),
        (_more_weights, r"nothing takes the weights model\.resampler\.x"),
        (_no_tower, "with --vision-tower"),
        (_other_shape, r"layers\.0\.mlp\.\w+\.weight are of shape"),
    ],
)
def test_what_cannot_be_converted_is_named_and_nothing_is_written(
    original: Original, tmp_path: Path, spoil: Callable[[Original], None], message: str
) -> None:
    spoil(original)
    with pytest.raises(UserError, match=message):
        convert(original.folder, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_a_folder_in_use_and_one_that_is_none_are_named(original, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for source, target, message in (
        (original.folder, tmp_path / "full", "is not empty; name another folder with --to"),
        (tmp_path / "nowhere", tmp_path / "converted", "there is no config.json"),
    ):
        assert main(["convert-checkpoint", str(source), "--to", str(target)]) == 2
        assert message in capsys.readouterr().err
