from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from lmms_causal import tiny_llava
from lmms_causal.errors import UserError
from lmms_causal.tasks.causal_vqa_mini.draws import Draws
from lmms_causal.tasks.causal_vqa_mini.scenes import (
    KINDS,
    NOISE_SD,
    PRIORS,
    render,
    sample_question,
)
from lmms_causal.tasks.causal_vqa_mini.world import Scene, Thing, pixels
from lmms_causal.tiny_llava.build import (
    EOS,
    IMAGE,
    IMAGE_TOKENS,
    PAD,
    WORDS,
    build_model,
    build_tokenizer,
    to_pixel_values,
)
from lmms_causal.tiny_llava.curriculum import balanced_sequence, prior_sequence
from lmms_causal.tiny_llava.evaluate import Reader, evaluate_cell, paired
from lmms_causal.tiny_llava.language import Batcher
from lmms_causal.tiny_llava.train import Recipe, train
from lmms_causal.tiny_llava.vision import patch_features, patch_labels


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    return AutoProcessor.from_pretrained(tiny_llava.path())


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return AutoModelForImageTextToText.from_pretrained(tiny_llava.path()).eval()


def chat(processor: LlavaProcessor, messages: list[dict]) -> str:
    return processor.apply_chat_template(messages, add_generation_prompt=True)


def user(text: str, images: int = 1) -> dict:
    content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
    return {"role": "user", "content": content}


def test_the_checkpoint_is_a_stock_llava_with_the_usual_special_tokens(model, processor):
    assert type(model) is LlavaForConditionalGeneration
    assert type(processor) is LlavaProcessor
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert processor.tokenizer.padding_side == "left"
    assert processor.tokenizer.image_token_id == model.config.image_token_id == IMAGE
    assert model.generation_config.eos_token_id == EOS
    assert model.generation_config.pad_token_id == PAD


def test_every_word_is_one_token_and_any_text_survives_the_tokenizer(processor):
    tokenizer = processor.tokenizer
    for word in WORDS:
        assert len(tokenizer.encode(" " + word, add_special_tokens=False)) == 1, word
    foreign = "Which caption is correct?\n(A) Øre – 因果 🙂  two  spaces"
    ids = tokenizer.encode(foreign, add_special_tokens=False)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == foreign


def test_the_tokenizer_build_is_reproducible_and_the_shipped_one(processor):
    built = build_tokenizer().backend_tokenizer.to_str()
    assert built == build_tokenizer().backend_tokenizer.to_str()
    shipped = json.loads((tiny_llava.path() / "tokenizer.json").read_text())
    assert json.loads(built)["model"] == shipped["model"]


def test_the_processor_gives_36_image_tokens_and_the_pixels_of_training(processor):
    image = render(sample_question("colour", "conflict", 0).scene)
    inputs = processor(text="<image>\nx", images=image, return_tensors="pt")
    assert int((inputs["input_ids"] == IMAGE).sum()) == IMAGE_TOKENS == 36
    expected = to_pixel_values(np.array(image)[None])
    assert torch.allclose(inputs["pixel_values"], expected, atol=1e-6)


def test_the_processor_loads_without_torchvision():
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from transformers import AutoProcessor\n"
        "from PIL import Image\n"
        f"p = AutoProcessor.from_pretrained({str(tiny_llava.path())!r})\n"
        "image = Image.new('RGB', (48, 48), (255, 0, 0))\n"
        "values = p(text='<image>', images=image, return_tensors='pt')['pixel_values']\n"
        "print(type(p.image_processor).__name__, values[0, :, 5, 5].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "CLIPImageProcessorPil [1.0, -1.0, -1.0]"


def test_the_template_takes_strings_lists_system_messages_and_several_turns(processor):
    listed = chat(processor, [user("is it ?")])
    assert listed == "USER: <image>\nis it ? ASSISTANT:"
    assert chat(processor, [{"role": "user", "content": "<image>\nis it ?"}]) == listed
    turns = [
        {"role": "system", "content": "be brief ."},
        user("is it ?"),
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        {"role": "user", "content": "and now ?"},
    ]
    assert chat(processor, turns) == (
        "SYSTEM: be brief . USER: <image>\nis it ? ASSISTANT: yes</s>USER: and now ? ASSISTANT:"
    )
    with pytest.raises(Exception, match="reads text and images, not video"):
        chat(processor, [{"role": "user", "content": [{"type": "video"}]}])


@pytest.mark.parametrize("draw", [balanced_sequence, prior_sequence])
def test_training_sequences_are_the_tokens_the_chat_template_gives(processor, draw):
    batcher = Batcher(processor.tokenizer)
    for seed in range(40):
        sequence = draw(Draws(2, 97, seed))
        messages = []
        for number, (_, question, answer) in enumerate(sequence.turns):
            images = 1 if number == 0 and sequence.scene is not None else 0
            messages += [user(question, images), {"role": "assistant", "content": answer}]
        text = processor.apply_chat_template(messages)
        image = None if sequence.scene is None else render(sequence.scene)
        expected = processor(text=text, images=image)["input_ids"][0]
        ids, labels, places = batcher.tokens(sequence)
        assert ids == list(expected)
        learned = processor.tokenizer.decode([token for token in labels if token >= 0])
        assert learned == "".join(f" {answer}</s>" for _, _, answer in sequence.turns)
        last_words = [answer.split()[-1] for _, _, answer in sequence.turns]
        decoded = [processor.tokenizer.decode(ids[place]).strip() for place, _ in places]
        assert decoded == last_words


def test_the_projector_sees_the_features_that_the_tower_was_trained_on(model):
    values = to_pixel_values(pixels(sample_question("order", "conflict", 1).scene)[None])
    with torch.no_grad():
        ours = model.model.multi_modal_projector(patch_features(model, values))
        theirs = torch.stack(list(model.get_image_features(values).pooler_output))
    assert torch.equal(ours, theirs)


def test_patch_labels_name_what_covers_the_patch():
    scene = Scene((Thing("brick", "red", 32, 0), Thing("ball", None, 0, 32, "fell")), 0)
    classes, colours = (labels.reshape(6, 6) for labels in patch_labels(scene))
    # The brick's 14x6 pixels at (32, 4) to (46, 10) reach patches (0, 4) and (0, 5) with 8 x 4 and
    # 6 x 4 pixels, and the patches below with 8 x 2 and 6 x 2: all of them at least ten.
    assert (classes[:2, 4:] == classes[0, 4]).all() and classes[0, 4] > 0
    assert set(colours[:2, 4:].flatten()) == {1}
    assert (classes[4:, :2] > classes[0, 4]).all()
    assert (colours[4:, :2] == -1).all()
    assert np.count_nonzero(classes) == 8


def test_generation_in_a_left_padded_batch_gives_the_answers_one_by_one(model, processor):
    asked = [sample_question(kind, "conflict", seed) for kind in KINDS for seed in range(4)]
    prompts = [chat(processor, [user(question.text)]) for question in asked]
    images = [render(question.scene) for question in asked]

    def answers(prompts: list[str], images: list[Image.Image]) -> list[str]:
        inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt")
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=4)
        start = inputs["input_ids"].shape[1]
        texts = processor.tokenizer.batch_decode(tokens[:, start:], skip_special_tokens=True)
        return [text.strip() for text in texts]

    batched = answers(prompts, images)
    assert batched == [answers([p], [i])[0] for p, i in zip(prompts, images, strict=True)]
    assert all(text in question.choices for text, question in zip(batched, asked, strict=True))
    assert sum(t == q.answer for t, q in zip(batched, asked, strict=True)) >= len(asked) - 1


def test_a_few_training_steps_change_every_trained_part_and_save_a_loadable_checkpoint(tmp_path):
    record = train(3, tmp_path, Recipe(tower=3, projector=3, balanced=2, prior=1))
    assert record["recipe"] == {"tower": 3, "projector": 3, "balanced": 2, "prior": 1}
    assert json.loads((tmp_path / "training.json").read_text()) == record
    trained = LlavaForConditionalGeneration.from_pretrained(tmp_path)
    fresh = dict(build_model(len(build_tokenizer()), 3).named_parameters())
    same = [name for name, p in trained.named_parameters() if torch.equal(p, fresh[name])]
    # The class token's output is dropped, and so is the pooled output's layer norm.
    assert all("post_layernorm" in name for name in same), same
    assert len(AutoProcessor.from_pretrained(tmp_path).tokenizer) == len(build_tokenizer())


def test_training_with_the_same_seed_gives_the_same_weights(tmp_path):
    recipe = Recipe(tower=2, projector=2, balanced=1, prior=1)
    for name in ("one", "two"):
        train(5, tmp_path / name, recipe)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_paired_counts_flips_and_computes_the_exact_p():
    base = [True] * 5 + [False] * 8
    other = [True] * 4 + [False] + [True] * 8
    # Nine discordant pairs, one of them lost: p = 2 * (1 + 9) / 2**9 = 0.0390625.
    assert paired(base, other) == {"accuracy": 0.9231, "gained": 8, "lost": 1, "p": 0.039}


def test_importing_the_package_does_not_import_torch():
    code = (
        "import sys, lmms_causal.tiny_llava as t, lmms_causal.tasks.causal_vqa_mini.scenes\n"
        "assert t.path().is_dir() and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_checkpoint_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tiny_llava, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UserError, match=r"no checkpoint in .*; train it with") as raised:
        tiny_llava.path()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prior", PRIORS)
def test_the_shipped_model_sees_on_clean_pictures_and_follows_the_prior_without_one(kind, prior):
    # The card states at least 97 % of 500; 60 of which leave three errors (Binomial(60, 0.03)
    # exceeds four with probability 3 %, and the draws are fixed).
    cell = evaluate_cell(Reader(tiny_llava.path()), kind, prior, sd=0.0, count=60)
    assert cell["base"] >= 0.95
    assert cell["blind"] >= 0.9 if prior == "consistent" else cell["blind"] <= 0.1


@pytest.mark.slow
def test_the_recorded_evaluation_is_the_shipped_models():
    recorded = json.loads((tiny_llava.path().parent / "evaluation.json").read_text())
    assert all(cell["base"] >= 0.97 for cell in recorded if cell["noise_sd"] == 0)
    (cell,) = (
        c
        for c in recorded
        if (c["kind"], c["prior"], c["noise_sd"]) == ("presence", "conflict", NOISE_SD)
    )
    again = evaluate_cell(Reader(tiny_llava.path()), "presence", "conflict", NOISE_SD, cell["n"])
    # Other processors round differently, so a tie or two among 500 answers may fall otherwise.
    for view in ("no_image", "vcd_999"):
        assert abs(again[view]["accuracy"] - cell[view]["accuracy"]) <= 0.006
    assert abs(again["base"] - cell["base"]) <= 0.006


@pytest.mark.slow
def test_noise_makes_the_prior_mislead_and_contrast_mends_it_at_the_stated_price():
    reader = Reader(tiny_llava.path())
    conflict = evaluate_cell(reader, "presence", "conflict", sd=NOISE_SD, count=250)
    agree = evaluate_cell(reader, "presence", "consistent", sd=NOISE_SD, count=250)
    assert conflict["base"] < 0.6 < 0.9 < agree["base"]
    for view in ("no_image", "noise_1000"):
        assert conflict[view]["accuracy"] > conflict["base"] + 0.08
        assert conflict[view]["p"] < 1e-3
        assert agree[view]["accuracy"] <= agree["base"]
