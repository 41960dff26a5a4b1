"""LLaVA-1.5 checkpoints as LLaVA's own code writes them, made into transformers' checkpoints.

The code of LLaVA, and of models made from it such as ``xing0047/cca-llava-1.5-7b``, saves a
language model whose configuration names further parts: ``model.layers.*`` beside
``model.mm_projector.0`` and ``.2``, while the vision encoder is another checkpoint, named by
``mm_vision_tower``. Transformers has a class for the whole. What differs beside names:

* pictures are placeholders in the text here, so that the vocabulary has a token more, and one for
  padding if there is none; new rows of the embeddings are never read for what they are, and those
  of the head are the mean of all others, the logit of an average token;
* ``image_aspect_ratio=pad`` is carried over to the image processor, which then pads to squares;
* the chat template is that of ``vicuna_v1``, with which LLaVA-1.5 is trained and evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from lmms_causal.errors import UserError

__all__ = ["convert"]

_IMAGE = "<image>"
_TEXT_CONFIGS = {
    "LlavaLlamaForCausalLM": transformers.LlamaConfig,
    "LlavaMistralForCausalLM": transformers.MistralConfig,
}
_PROJECTOR = {"0": "linear_1", "2": "linear_2"}
_OWN = ("model_type", "architectures", "transformers_version", "_name_or_path", "dtype")
_VOCABULARY = 64  # the vocabulary's size is made a multiple of it

_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_CHAT_TEMPLATE = (
    "{%- macro say(content) -%}"
    "{%- if content is string -%}{{ content }}{%- else -%}{%- for item in content -%}"
    "{%- if item['type'] == 'image' -%}{{ '<image>\n' }}"
    "{%- elif item['type'] == 'text' -%}{{ item['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endmacro -%}"
    "{%- if messages[0]['role'] != 'system' -%}{{ " + repr(_SYSTEM + " ") + " }}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ say(message['content']) + ' ' }}"
    "{%- elif message['role'] == 'user' -%}{{ 'USER: ' + say(message['content']) + ' ' }}"
    "{%- else -%}{{ 'ASSISTANT: ' + say(message['content']) + eos_token }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"
)


def convert(source: Path, target: Path, vision_tower: str | None = None) -> None:
    """Write a checkpoint that transformers loads as ``LlavaForConditionalGeneration``.

    Args:
        source: folder of a checkpoint in the layout of LLaVA's own code.
        target: folder to write; must not exist, or be empty.
        vision_tower: folder or hub id of the CLIP checkpoint; None takes what the source names.

    Raises:
        UserError: the source is of another kind or incomplete, the vision encoder cannot be read,
            or the target is in use.
    """
    original = _configuration(source)
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty; name another folder with --to")
    tower, pictures = _tower(vision_tower or original["mm_vision_tower"])
    tokenizer = _tokenizer(source)
    text = _text_config(source, original)
    size = max(text.vocab_size, len(tokenizer))
    size += -size % _VOCABULARY
    patches = (tower.config.image_size // tower.config.patch_size) ** 2
    whole = original.get("mm_vision_select_feature", "patch") != "patch"
    config = transformers.LlavaConfig(
        text_config={**text.to_dict(), "vocab_size": size, "pad_token_id": tokenizer.pad_token_id},
        vision_config=tower.config.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        image_seq_length=patches + whole,
        projector_hidden_act="gelu",
        vision_feature_layer=original.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="full" if whole else "default",
        tie_word_embeddings=False,
    )
    weights = _Weights(source)
    with torch.device("meta"):
        model = transformers.LlavaForConditionalGeneration(config)
    parts = model.model
    weights.fill(parts.language_model, "model.", embed_tokens=size)
    weights.fill(model.lm_head, "lm_head.", weight=size)
    weights.fill(parts.multi_modal_projector, "model.mm_projector.", names=_PROJECTOR)
    weights.fill_tower(parts.vision_tower, tower)
    weights.check_all_used()
    nn.Module.to(model, weights.dtype)  # the vision encoder's may be another
    model.save_pretrained(target)
    _processor(original, config, pictures, tokenizer).save_pretrained(target)


def _configuration(source: Path) -> dict[str, Any]:
    """The configuration of a checkpoint, if it is of the kind that is meant."""
    file = source / "config.json"
    if not file.is_file():
        raise UserError(f"{source}: there is no config.json; name the folder of a checkpoint")
    original: dict[str, Any] = json.loads(file.read_text("utf-8"))
    if not original.get("mm_vision_tower"):
        raise UserError(
            f"{source}: its configuration names no mm_vision_tower: this is no checkpoint of "
            "LLaVA's own code, and may be one that transformers reads as it is"
        )
    kind = original.get("mm_projector_type", "linear")
    if kind != "mlp2x_gelu":
        raise UserError(
            f"{source}: mm_projector_type={kind}; only mlp2x_gelu, the projector of LLaVA-1.5, has "
            "a place in transformers' class"
        )
    if str(original.get("image_aspect_ratio")).startswith("anyres"):
        raise UserError(
            f"{source}: image_aspect_ratio={original['image_aspect_ratio']} is LLaVA-NeXT, which "
            "has another class; only LLaVA-1.5 is converted"
        )
    return original


def _text_config(source: Path, original: Mapping[str, Any]) -> Any:
    """The language model's own configuration."""
    architecture = (original.get("architectures") or ["LlavaLlamaForCausalLM"])[0]
    if architecture not in _TEXT_CONFIGS:
        raise UserError(
            f"{source}: architecture {architecture} is not converted; only "
            f"{' and '.join(_TEXT_CONFIGS)} are"
        )
    cls = _TEXT_CONFIGS[architecture]
    known = {*cls().to_dict(), "rope_theta", "rope_scaling"}.difference(_OWN)
    return cls(**{name: value for name, value in original.items() if name in known})


def _tower(name: str) -> tuple[Any, Any]:
    """The vision encoder, and how it wants its pictures."""
    try:
        pictures = transformers.CLIPImageProcessor.from_pretrained(name)
        return transformers.CLIPVisionModel.from_pretrained(name), pictures
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the vision encoder {name} cannot be read: {reason}; name a folder or hub id of it "
            "with --vision-tower, such as openai/clip-vit-large-patch14-336"
        ) from None


def _tokenizer(source: Path) -> Any:
    """The tokenizer, with a token for pictures, and one for padding."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{source}: its tokenizer cannot be read: {reason}") from None
    image = transformers.AddedToken(_IMAGE, special=True, normalized=False)
    tokenizer.add_special_tokens({"additional_special_tokens": [image]})
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.padding_side = "left"
    return tokenizer


def _processor(original: Mapping[str, Any], config: Any, pictures: Any, tokenizer: Any) -> Any:
    """What makes prompts and pictures into tensors."""
    image_processor = transformers.LlavaImageProcessor(
        size=dict(pictures.size),
        crop_size=dict(pictures.crop_size),
        image_mean=pictures.image_mean,
        image_std=pictures.image_std,
        resample=pictures.resample,
        do_pad=original.get("image_aspect_ratio") == "pad",
    )
    return transformers.LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    )


class _Weights:
    """The weights of a checkpoint, taken out part by part."""

    def __init__(self, source: Path) -> None:
        self._source = source
        # derived from the configuration; older checkpoints hold them all the same
        self._left = {k: v for k, v in _tensors(source) if not k.endswith("rotary_emb.inv_freq")}
        self.dtype = next(iter(self._left.values())).dtype

    def fill(
        self,
        part: nn.Module,
        prefix: str,
        names: Mapping[str, str] | None = None,
        **rows: int,
    ) -> None:
        """Give a part its weights.

        Args:
            part: a module on the meta device.
            prefix: of its weights in the checkpoint.
            names: the part's own names of its children.
            rows: how many rows the weights of a child, or of the part itself, should have.
        """
        wanted = part.state_dict()
        found = {}
        for key in wanted:
            child, _, rest = key.partition(".")
            old = next((k for k, v in (names or {}).items() if v == child), child)
            found[key] = self._take(f"{prefix}{old}.{rest}" if rest else f"{prefix}{old}")
            if child in rows:
                found[key] = _grown(found[key], rows[child])
            if found[key].shape != wanted[key].shape:
                shapes = f"{tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
                raise UserError(f"{self._source}: the weights {prefix}{key} are of shape {shapes}")
        part.load_state_dict(found, assign=True)

    def fill_tower(self, part: nn.Module, tower: nn.Module) -> None:
        """Give the vision encoder its weights: the checkpoint's own where it was trained."""
        found = dict(tower.state_dict())
        prefix = "model.vision_tower.vision_tower."
        for key in [key for key in self._left if key.startswith(prefix)]:
            name = key.removeprefix(prefix)
            name = name if name in found else name.removeprefix("vision_model.")
            if name in found or name.endswith("position_ids"):
                found[name] = self._take(key)
        part.load_state_dict({key: found[key] for key in part.state_dict()}, assign=True)

    def check_all_used(self) -> None:
        """Refuse a checkpoint that holds more than was taken."""
        if self._left:
            raise UserError(
                f"{self._source}: nothing takes the weights {sorted(self._left)[0]} "
                f"(and {len(self._left) - 1} more); this is no LLaVA-1.5"
            )

    def _take(self, key: str) -> Tensor:
        if key not in self._left:
            raise UserError(f"{self._source}: its weights have no {key}; is it complete?")
        return self._left.pop(key)


def _grown(weight: Tensor, rows: int) -> Tensor:
    """A matrix with more rows, each the mean of those it has."""
    mean = weight.float().mean(dim=0, keepdim=True).to(weight.dtype)
    return torch.cat([weight, mean.expand(rows - len(weight), -1)])


def _tensors(source: Path) -> Iterator[tuple[str, Tensor]]:
    """All weights of a checkpoint's files."""
    from safetensors.torch import load_file

    files = sorted(source.glob("*.safetensors")) or sorted(source.glob("pytorch_model*.bin"))
    if not files:
        raise UserError(f"{source}: there are no weights, *.safetensors or pytorch_model*.bin")
    for file in files:
        if file.suffix == ".safetensors":
            yield from load_file(file).items()
        else:
            yield from torch.load(file, map_location="cpu", mmap=True, weights_only=True).items()
