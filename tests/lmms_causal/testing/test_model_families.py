"""The test bed itself: families that load offline like checkpoints and answer like live models."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch
import transformers as tr

from lmms_causal.errors import UserError
from lmms_causal.testing import (
    FAMILIES,
    Prompt,
    build,
    encode,
    families,
    family,
    names,
    picture,
    save,
    video,
)
from lmms_causal.testing.tokenizer import ANSWERS, build_tokenizer

VISION = names("vision")


def built(name: str):
    if missing := family(name).missing():
        pytest.skip(f"the processor of {name} needs {', '.join(missing)}")
    return build(name)


def prompt(name: str, text: str = "Is there a red ball?", seed: int = 1) -> Prompt:
    return Prompt(text, (picture(seed),) if name in VISION else ())


@torch.no_grad()
def last_logits(model, inputs) -> torch.Tensor:
    return model(**inputs).logits[:, -1]


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_family_loads_offline_through_the_auto_classes(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, processor = built(name)
    save(name, tmp_path)
    if name in VISION:
        loaded = tr.AutoModelForImageTextToText.from_pretrained(tmp_path)
        loaded_processor = tr.AutoProcessor.from_pretrained(tmp_path)
        assert type(loaded_processor) is type(processor)
    else:
        loaded = tr.AutoModelForCausalLM.from_pretrained(tmp_path)
        loaded_processor = tr.AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.generation_config.eos_token_id == model.generation_config.eos_token_id
    asked = Prompt("Is it red? Ünïcode 中文", prompt(name).images, system="Be brief.")
    inputs, reloaded = encode(processor, [asked]), encode(loaded_processor, [asked])
    assert inputs.keys() == reloaded.keys()
    for key in inputs:
        assert torch.equal(torch.as_tensor(inputs[key]), torch.as_tensor(reloaded[key])), key
    assert torch.equal(last_logits(model, inputs), last_logits(loaded, reloaded))


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_depend_on_the_seed_only(name):
    first, _ = built(name)
    torch.rand(3)
    second, _ = build(name)
    other, _ = build(name, seed=1)
    weights = first.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in second.state_dict().items())
    assert any(not torch.equal(value, weights[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_alive(name):
    model, processor = built(name)
    questions = ["Is there a red ball?", "Why did the cup fall from the table?"]
    inputs = encode(processor, [prompt(name, text) for text in questions])
    answers = model.generate(**inputs, max_new_tokens=6)[:, inputs["input_ids"].shape[1] :]
    logits = last_logits(model, inputs)
    assert answers[0].tolist() != answers[1].tolist()
    assert 0.5 < logits.std().item() < 5
    assert logits.softmax(-1).max() < 0.9
    assert len(set(answers.flatten().tolist())) > 3


@pytest.mark.parametrize("name", VISION)
def test_pictures_influence_the_logits(name):
    model, processor = built(name)
    first, second = (
        last_logits(model, encode(processor, [prompt(name, seed=seed)])) for seed in (1, 2)
    )
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_pictures_is_accepted(name, count):
    model, processor = built(name)
    pictures = tuple(picture(seed, 30 + 9 * seed, 40) for seed in range(count))
    inputs = encode(processor, [Prompt("What is it?", pictures)])
    assert ("pixel_values" in inputs) is (count > 0)
    assert (inputs["input_ids"] == model.config.image_token_id).any().item() is (count > 0)
    assert last_logits(model, inputs).isfinite().all()


@pytest.mark.parametrize("name", [name for name in VISION if family(name).video])
def test_videos_are_accepted(name):
    model, processor = built(name)
    logits = [
        last_logits(model, encode(processor, [Prompt("What happens?", videos=(video(seed),))]))
        for seed in (1, 2)
    ]
    assert (logits[0] - logits[1]).abs().max() > 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_conversations_of_any_shape_are_rendered(name):
    _, processor = built(name)
    item = [{"type": "image"}] if name in VISION else []
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [*item, {"type": "text", "text": "First?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "One."}]},
        {"role": "user", "content": "Second?"},
    ]
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    positions = [text.index(part) for part in ("Be brief.", "First?", "One.", "Second?")]
    assert positions == sorted(positions)
    assert not text.endswith(" "), "the answer's first token carries the blank itself"
    shorter = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    assert text.startswith(shorter.rstrip()) and len(text) > len(shorter)


@pytest.mark.parametrize("name", VISION)
def test_the_processors_own_template_call_gives_the_same_tokens(name):
    _, processor = built(name)
    asked = prompt(name)
    inputs = processor.apply_chat_template(
        asked.messages(),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert torch.equal(inputs["input_ids"], encode(processor, [asked])["input_ids"])


def test_tokenizer_is_lossless_and_knows_the_answers():
    tokenizer = build_tokenizer(bos="<s>", eos="</s>", pad="<pad>")
    for text in ("A cat — Ünïcode 中文 🙂", " leading and  double  blanks\n\ttabs", "()[]{}<>;=+"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    for answer in ANSWERS:
        assert len(tokenizer(answer, add_special_tokens=False).input_ids) == 1
    assert tokenizer("x").input_ids[0] == tokenizer.bos_token_id
    assert tokenizer.padding_side == "left"


def test_unknown_family_is_refused_with_the_list():
    with pytest.raises(UserError, match=r"unknown model family 'lava'; available: llava, "):
        build("lava")


def test_missing_package_of_a_processor_is_named(monkeypatch):
    def version(name: str) -> str:
        if name == "num2words":
            raise PackageNotFoundError(name)
        return "99.0"

    monkeypatch.setattr(families, "version", version)
    with pytest.raises(UserError, match="smolvlm needs num2words; pip install 'num2words'"):
        build("smolvlm")


def test_version_of_a_package_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(families, "version", lambda name: "5.20.2")
    with pytest.raises(UserError, match=r"needs transformers>=5\.23; pip install 'transformers>="):
        build("smolvlm")
