"""Matchers: BLIP's Grad-CAM against the stock forward pass, on a tiny random model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tr
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.interventions import matching
from lmms_causal.interventions.matching import Blip, Match, load, matcher, named, saliency
from lmms_causal.interventions.methods.agla import AGLA, masked
from lmms_causal.interventions.question import Question
from lmms_causal.testing import picture
from lmms_causal.testing.weights import randomise

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
WORDS = [*SPECIAL, "is", "there", "a", "red", "ball", "in", "the", "picture", "?", "yes"]
QUESTION = "Is there a red ball in the picture?"


def tiny_blip(folder, layers=3, kind=tr.BlipForImageTextRetrieval, words=WORDS):
    """A random BLIP with pictures of 4 x 4 patches, and its processor."""
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = tr.BertTokenizer(str(folder / "vocab.txt"))
    sizes = {"intermediate_size": 40, "num_attention_heads": 4, "num_hidden_layers": layers}
    text = {"hidden_size": 32, "encoder_hidden_size": 24, "vocab_size": len(words), **sizes}
    config = tr.BlipConfig(
        text_config={"max_position_embeddings": 64, "bos_token_id": 5, **text},
        vision_config={"hidden_size": 24, "image_size": 32, "patch_size": 8, **sizes},
        image_text_hidden_size=16,
        projection_dim=16,
    )
    model = kind(config)
    randomise(model, seed=3)
    images = tr.BlipImageProcessor(size={"height": 32, "width": 32})
    return model.eval(), tr.BlipProcessor(images, tokenizer)


@pytest.fixture
def blip(tmp_path):
    return tiny_blip(tmp_path)


def by_the_stock_model(model, processor, layer, opened=True):
    """Heat map and cosine through the model's own forward pass and ``backward``."""
    model.requires_grad_(True)
    inputs = processor(images=picture(1), text=QUESTION.lower(), return_tensors="pt")
    cosine = model(**inputs, use_itm_head=False).itm_score.item()
    if opened:
        inputs["input_ids"][:, 0] = WORDS.index("[ENC]")
    kept = []
    attention = model.text_encoder.encoder.layer[layer].crossattention.self
    hook = attention.register_forward_hook(
        lambda module, args, output: (output[1].retain_grad(), kept.append(output[1]))[0]
    )
    model(**inputs).itm_score[:, 1].sum().backward()
    hook.remove()
    model.requires_grad_(False)
    weights = kept[0].detach() * kept[0].grad.clamp(min=0)  # [1, H, T, 1 + P]
    count = inputs["input_ids"].shape[1] - 2
    heat = weights[0, :, 1 : count + 1, 1:].mean(0).sum(0) / count
    return heat.reshape(4, 4).numpy(), cosine


@pytest.mark.parametrize(("layers", "layer"), [(3, 1), (12, 6)])
def test_heat_and_similarity_equal_those_of_the_stock_model(layers, layer, tmp_path):
    model, processor = tiny_blip(tmp_path, layers)
    heat, cosine = by_the_stock_model(model, processor, layer)
    found = Blip(model, processor)(picture(1), QUESTION)
    assert heat.any()
    np.testing.assert_allclose(found.heat, heat, rtol=1e-4, atol=1e-9)
    assert found.similarity == pytest.approx(cosine, abs=1e-6)


def test_without_its_token_the_question_opens_as_it_is(tmp_path):
    words = [word for word in WORDS if word != "[ENC]"] + ["more"]
    model, processor = tiny_blip(tmp_path, words=words)
    heat, _ = by_the_stock_model(model, processor, 1, opened=False)
    assert heat.any()
    found = Blip(model, processor)(picture(1), QUESTION)
    np.testing.assert_allclose(found.heat, heat, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_had_where_the_harness_switches_them_off(mode, blip):
    matches = Blip(*blip)
    expected = matches(picture(1), QUESTION)
    with mode():
        found = matches(picture(1), QUESTION)
    assert np.array_equal(found.heat, expected.heat) and expected.heat.any()
    assert all(p.grad is None for p in blip[0].parameters())


def test_map_depends_on_the_question_and_an_empty_one_marks_nothing(blip):
    matches = Blip(*blip)
    ball, yes = (matches(picture(1), words).heat for words in ("red ball", "yes"))
    assert ball.any() and yes.any() and not np.allclose(ball, yes, rtol=0.1, atol=0)
    assert not matches(picture(1), " ").heat.any()


def test_question_is_written_as_captions_are_and_cut_at_35_tokens(blip):
    assert matching.plain_words(' Is "it" RED?  (Yes.)\n') == "is it red? yes"
    matches = Blip(*blip)
    long = Match(*matches(picture(1), "red ball " * 20))
    assert np.array_equal(long.heat, matches(picture(1), "red ball " * 24).heat)


def test_a_checkpoint_is_loaded_from_its_folder_once(blip, tmp_path):
    for part in blip:
        part.save_pretrained(tmp_path)
    loaded = load(f"blip:{tmp_path}")
    assert load(f"blip:{tmp_path}") is loaded
    assert named(str(tmp_path)) == ("blip", str(tmp_path))
    expected = Blip(*blip)(picture(2), QUESTION)
    found = loaded(picture(2), QUESTION)
    np.testing.assert_allclose(found.heat, expected.heat, rtol=1e-4, atol=1e-9)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-6)
    (shown,) = AGLA(matcher=f"blip:{tmp_path}").view(Question(QUESTION, (picture(2),)))
    assert shown == masked(picture(2), found)


def test_a_checkpoint_that_is_not_there_names_the_remedy():
    with pytest.raises(UserError, match=r"blip:nobody/none cannot be loaded: .*; load it once"):
        load("blip:nobody/none")


def test_another_kind_of_model_is_refused(saved, tmp_path):
    with pytest.raises(UserError, match="is a model of type llava, not blip"):
        load(f"blip:{saved('llava')}")
    for part in tiny_blip(tmp_path, kind=tr.BlipForConditionalGeneration):
        part.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="was not trained to match pictures and texts"):
        load(f"blip:{tmp_path}")


def test_an_unknown_matcher_is_named_with_those_there_are():
    with pytest.raises(UserError, match=r"=salency is neither.*'saliency'.* available: blip, sal"):
        named("salency")
    with pytest.raises(UserError, match="saliency takes nothing behind a colon"):
        load("saliency:x")


def test_a_matcher_is_added_by_registering_it(monkeypatch):
    monkeypatch.setattr(matching, "_known", dict(matching._known))

    @matcher("mine")
    def build(argument):
        return lambda picture, question: Match(np.eye(2), float(argument))

    assert load("mine:0.5")(picture(1), "?").similarity == 0.5
    with pytest.raises(TypeError, match="there is a matcher 'mine' already"):
        matcher("mine")(lambda argument: saliency)
    load.cache_clear()


def test_saliency_marks_what_differs_from_its_surroundings():
    shown = Image.new("RGB", (200, 100), (20, 80, 160))
    shown.paste((240, 30, 30), (140, 20, 160, 40))
    match = saliency(shown, "anything")
    row, column = np.unravel_index(match.heat.argmax(), match.heat.shape)
    height, width = match.heat.shape
    assert 20 <= (row + 0.5) / height * 100 <= 40 and 140 <= (column + 0.5) / width * 200 <= 160
    assert match.similarity == 1
