"""Preparations and views in the runner, against the stock model's own passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageOps

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, parse
from lmms_causal.models.generation import Settings
from lmms_causal.models.prompts import Prompt
from lmms_causal.models.questions import question_of, with_question
from lmms_causal.models.runner import Runner
from lmms_causal.testing import picture

QUESTIONS = ("Is there a red ball?", "Why did the glass fall? Answer the question.", "Why?")
CANDIDATES = (" yes", " no", " A", " the wind caused it", " because of the boy")
SEEING = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "gemma3"]
FIVE = Settings(max_new_tokens=5)


def prompts_of(ask, encoder, count=3):
    return [ask(encoder, q, key=f"t/{i}/0") for i, q in enumerate(QUESTIONS[:count])]


def texts(answers):
    return [answer.text for answer in answers]


class TestViews:
    """A branch that is shown mirrored pictures, encoded anew."""

    def _logits(self, runner, prompt, added):
        """Factual and mirrored logits ``[T, V]`` of an answer, from two whole passes."""
        mirrored = replace(prompt, images=tuple(map(ImageOps.mirror, prompt.images)))
        found = []
        for shown in (prompt, mirrored):
            inputs = dict(runner.encoder.encode([shown]))
            row = torch.tensor([added])
            length = inputs["input_ids"].shape[1]
            inputs["input_ids"] = torch.cat([inputs["input_ids"], row], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            for kind in ("token_type_ids", "mm_token_type_ids"):
                if kind in inputs:
                    inputs[kind] = torch.cat([inputs[kind], torch.zeros_like(row)], dim=1)
            with torch.no_grad():
                found.append(runner.model(**inputs).logits[0, length - 1 : -1].double())
        return found

    @pytest.mark.parametrize("name", SEEING)
    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_scores_and_answers_follow_the_formula(self, runner, ask, toys, name, batch_size):
        made = runner(name, "mirrored(alpha=0.7)", batch_size=batch_size)
        prompts = prompts_of(ask, made.encoder)
        pairs = [(prompt, candidate) for prompt in prompts for candidate in CANDIDATES]
        scores = made.score(*zip(*pairs, strict=True))
        answers = made.generate(prompts, [FIVE] * 3)
        made.close()
        plain = runner(name, batch_size=batch_size)
        assert texts(plain.generate(prompts, [FIVE] * 3)) != texts(answers)
        tokenizer = made.encoder.tokenizer
        for (prompt, candidate), score in zip(pairs, scores, strict=True):
            added = tokenizer(candidate, add_special_tokens=False)["input_ids"]
            factual, mirrored = self._logits(made, prompt, added)
            logits = (1.7 * factual - 0.7 * mirrored).log_softmax(dim=-1)
            total = logits.gather(1, torch.tensor(added)[:, None]).sum().item()
            assert score.log_probability == pytest.approx(total, abs=1e-3 * len(added))
        for prompt, answer in zip(prompts, answers, strict=True):
            tokens: list[int] = []
            for _ in range(answer.generated_tokens):
                factual, mirrored = self._logits(made, prompt, [*tokens, 0])
                tokens.append(int((1.7 * factual - 0.7 * mirrored)[-1].argmax()))
            assert tokenizer.decode(tokens, skip_special_tokens=True) == answer.text

    @pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "idefics3"])
    def test_beams_see_the_branch_s_pictures_too(self, runner, ask, toys, name):
        made = runner(name, "mirrored(alpha=0.7)", batch_size=3)
        prompts = prompts_of(ask, made.encoder)
        beams, uncached = (
            made.generate(prompts, [Settings(5, options={"num_beams": 3, **more})] * 3)
            for more in ({}, {"use_cache": False})
        )
        assert texts(beams) == texts(uncached)

    def test_candidates_of_a_document_share_its_view_however_they_are_listed(
        self, runner, ask, toys
    ):
        made = runner("llava", "mirrored", batch_size=2)
        prompts = prompts_of(ask, made.encoder)
        pairs = [(prompt, candidate) for candidate in CANDIDATES for prompt in prompts]
        scores = made.score(*zip(*pairs, strict=True))
        assert sorted(toys.viewed) == [(f"t/{i}/0", text) for i, text in enumerate(QUESTIONS)]
        again = [made.score([prompt], [candidate])[0] for prompt, candidate in pairs]
        for one, other in zip(scores, again, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=5e-4)
        assert made.cost.forward_passes % 2 == 0

    def test_prompts_without_a_picture_are_left(self, runner, ask, toys):
        made = runner("llava", "mirrored", batch_size=2)
        bare = [ask(made.encoder, text, images=0, key=text) for text in QUESTIONS]
        found = made.generate(bare, [FIVE] * 3)
        assert not toys.viewed
        made.close()
        assert found == runner("llava", batch_size=2).generate(bare, [FIVE] * 3)

    def test_pictures_of_other_sizes_are_refused_where_they_take_other_tokens(
        self, runner, ask, toys
    ):
        toys.view = lambda images: tuple(image.resize((200, 90)) for image in images)
        made = runner("qwen2_5_vl", "mirrored")
        with pytest.raises(UserError, match=r"t/0/0: .*'mirrored' shows take other tokens") as it:
            made.generate(prompts_of(ask, made.encoder, 1), [FIVE])
        assert "\n" not in str(it.value)
        square = runner("llava", "mirrored")  # it takes every picture at one size
        assert square.generate(prompts_of(ask, square.encoder, 1), [FIVE])

    def test_a_view_with_another_number_of_pictures_is_a_bug(self, runner, ask, toys):
        toys.view = lambda images: images * 2
        made = runner("llava", "mirrored")
        with pytest.raises(ValueError, match="returned 2 pictures for 1"):
            made.generate(prompts_of(ask, made.encoder, 1), [FIVE])

    def test_only_the_last_turn_s_pictures_are_changed(self, runner, toys):
        made = runner("llava", "mirrored")
        turns = [
            {"role": "user", "content": [{"type": "image", "image": picture(1)}, _text("What?")]},
            {"role": "assistant", "content": [_text("A ball.")]},
            {"role": "user", "content": [{"type": "image", "image": picture(2)}, _text("Why?")]},
        ]
        prompt = made.encoder.render(turns, "t/1/0")
        (image,) = question_of(prompt).images
        assert image.tobytes() == picture(2).tobytes()
        inputs = made._encode([prompt])
        pixels = made._views.tensors([prompt], inputs, torch.float32)["mirrored"]["pixel_values"]
        expected = made.encoder.encode(
            [replace(prompt, images=(picture(1), ImageOps.mirror(picture(2))))]
        )["pixel_values"]
        assert torch.equal(pixels, expected)
        assert not torch.equal(pixels, inputs["pixel_values"])


def _text(words):
    return {"type": "text", "text": words}


class TestPreparations:
    """A description, asked for first, that goes before the question."""

    def _by_hand(self, runner, toys, prompt):
        """The prompt as the method should ask it, from an answer of the stock model."""
        question = question_of(prompt)
        first = with_question(runner.encoder, prompt, replace(question, text=toys.DESCRIBE))
        inputs = runner.encoder.encode([first])
        ids = runner.model.generate(**inputs, max_new_tokens=toys.TOKENS, do_sample=False)
        reply = runner.encoder.tokenizer.decode(
            ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        text = toys.with_reply(reply, question.text)
        made = with_question(runner.encoder, prompt, replace(question, text=text))
        assert made.text == prompt.text.replace(question.text, text)
        read = int(inputs["attention_mask"].sum())
        return made, read, ids.shape[1] - inputs["input_ids"].shape[1]

    @pytest.mark.parametrize(
        "name, spec",
        [
            *((name, "") for name in ("llava", "qwen2_5_vl", "gemma3", "llama")),
            *((name, "+vcd(alpha=0.5)") for name in ("llava", "qwen2_5_vl", "gemma3")),
        ],
    )
    def test_the_prepared_prompt_is_answered_and_all_of_it_is_counted(
        self, runner, ask, toys, name, spec
    ):
        plain = runner(name, spec[1:] or None, batch_size=2)
        prompts = prompts_of(ask, plain.encoder)
        plain.close()
        by_hand, read, written = zip(*(self._by_hand(plain, toys, p) for p in prompts), strict=True)
        plain = runner(name, spec[1:] or None, batch_size=2)
        expected = plain.generate(by_hand, [FIVE] * 3)
        plain.close()
        made = runner(name, f"described{spec}", batch_size=2)
        assert bool({"forward", "generate"} & made.model.__dict__.keys()) == bool(spec)
        seen = []
        found = made.generate(prompts, [FIVE] * 3, lambda index, _: seen.append(index))
        assert found == expected and sorted(seen) == [0, 1, 2]
        assert bool({"forward", "generate"} & made.model.__dict__.keys()) == bool(spec)
        cost, base = made.cost, plain.cost
        assert cost.requests == base.requests == 3
        assert cost.forward_passes == base.forward_passes + sum(written)
        assert cost.generated_tokens == base.generated_tokens + sum(written)
        assert cost.prompt_tokens == base.prompt_tokens + sum(read)

    @pytest.mark.parametrize("name", ["llava", "llama"])
    def test_candidates_of_a_document_share_one_preparation(
        self, runner, ask, toys, monkeypatch, name
    ):
        from lmms_causal.models import runner as module

        monkeypatch.setattr(module, "_DOCUMENTS", 1)  # so that there are several parts
        plain = runner(name)
        prompts = prompts_of(ask, plain.encoder)
        by_hand = [self._by_hand(plain, toys, prompt)[0] for prompt in prompts]
        pairs = [(i, candidate) for candidate in CANDIDATES for i in range(3)]
        continuations = [candidate for _, candidate in pairs]
        expected = plain.score([by_hand[i] for i, _ in pairs], continuations)
        plain.close()
        made = runner(name, "described", batch_size=2)
        found = made.score([prompts[i] for i, _ in pairs], continuations)
        assert toys.prepared == [prompt.key for prompt in prompts]
        for one, other in zip(found, expected, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=5e-4)
            assert (one.tokens, one.is_greedy) == (other.tokens, other.is_greedy)
        assert made.cost.forward_passes == plain.cost.forward_passes + 3 * toys.TOKENS
        assert made.cost.requests == plain.cost.requests == len(pairs)

    def test_prompts_without_a_key_share_nothing(self, runner, ask, toys):
        made = runner("llama", "described")
        prompt = ask(made.encoder, QUESTIONS[0], key="")
        made.score([prompt] * 2, [" A", " B"])
        assert toys.prepared == ["", ""]

    def test_more_pictures_come_first_and_the_system_prompt_stays(self, runner, toys):
        made = runner("qwen2_5_vl", "described(times=2)")
        turns = [
            {"role": "system", "content": [_text("Be brief.")]},
            {"role": "user", "content": [_text("Look:"), _image(3), _text("Why?")]},
        ]
        prompt = made.encoder.render(turns, "t/0/0")
        (answer,) = made.generate([prompt], [FIVE])
        plain = runner("qwen2_5_vl")
        asked = with_question(
            plain.encoder, prompt, replace(question_of(prompt), text=toys.DESCRIBE)
        )
        (reply,) = plain.generate([asked], [Settings(toys.TOKENS)])
        words = toys.with_reply(reply.text, "Look:\nWhy?").split("\n")
        turns[1]["content"] = [_image(3), _image(3), _text(words[0]), _text(words[1])]
        (expected,) = plain.generate([plain.encoder.render(turns, "t/0/0")], [FIVE])
        assert answer == expected

    def test_whatever_a_method_does_with_the_model_is_counted(self, runner, ask):
        seen = {}

        def prepare(question, assistant):
            inputs = assistant.encode(question)
            model = assistant.adapter.model
            model(**inputs)
            model(inputs["input_ids"])
            with torch.enable_grad():  # and gradients can be had in a run without
                embedded = model.get_input_embeddings()(inputs["input_ids"]).requires_grad_()
                loss = model(inputs_embeds=embedded).logits.sum()
                (gradient,) = torch.autograd.grad(loss, embedded)
            seen["gradient"] = bool(gradient.abs().sum() > 0)
            model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, num_beams=1)
            seen["tokens"] = inputs["input_ids"].shape[1]
            return question

        plain = runner("llama")
        prompt = ask(plain.encoder, QUESTIONS[0])
        plain.generate([prompt], [FIVE])
        made = Runner(plain.model, plain.encoder, Plan(preparations=(prepare,)), quiet=True)
        made.generate([prompt], [FIVE])
        assert seen["gradient"]
        assert made.cost.forward_passes == plain.cost.forward_passes + 3 + 4
        assert made.cost.prompt_tokens == plain.cost.prompt_tokens + 4 * seen["tokens"]
        assert made.cost.generated_tokens == plain.cost.generated_tokens + 4
        assert not made.model._forward_pre_hooks

    def test_an_error_in_a_preparation_leaves_the_intervention_in_place(self, runner, ask):
        def fail(question, assistant):
            raise RuntimeError("no answer")

        plan = Plan(preparations=(fail,)).then(parse("vcd").plan())
        made = runner("llava")
        made.close()
        failing = Runner(made.model, made.encoder, plan, quiet=True)
        installed = failing.model.__dict__["generate"]
        with pytest.raises(RuntimeError, match="no answer"):
            failing.generate([ask(made.encoder, "Why?")], [FIVE])
        assert failing.model.__dict__["generate"] is installed
        assert not failing.model._forward_pre_hooks
        failing.close()

    def test_a_prompt_that_nobody_located_is_refused(self, runner, toys):
        made = runner("llama", "described")
        with pytest.raises(UserError, match=r"t/9: this intervention changes the question's words"):
            made.generate([Prompt("user: Why?", key="t/9")], [FIVE])


def _image(seed):
    return {"type": "image", "image": picture(seed)}


class TestCounting:
    """Methods that need to know where an answer begins, or which document is at hand."""

    def test_the_answer_s_first_token_is_known_when_scoring(self, runner, ask):
        """``variant=release`` contrasts the first token only: the sum of two other runs' parts."""
        candidate = " the wind caused it"
        found = {}
        for spec in ("none", "vcd(beta=0)", "vcd(beta=0;variant=release)"):
            made = runner("llava", spec)
            prompt = ask(made.encoder, QUESTIONS[0])
            tokens = made.encoder.continuation(prompt.outline, candidate)
            first = made.encoder.tokenizer.decode(tokens[:1])
            assert made.encoder.continuation(prompt.outline, first) == tokens[:1]
            scores = made.score([prompt, prompt], [candidate, first])
            found[spec] = [score.log_probability for score in scores]
            made.close()
        (plain, plain_first), (_, first) = found["none"], found["vcd(beta=0)"]
        release, release_first = found["vcd(beta=0;variant=release)"]
        assert release_first == pytest.approx(first, abs=1e-4) != plain_first
        assert release == pytest.approx(plain - plain_first + first, abs=1e-3)

    def test_draws_depend_on_the_document_and_not_on_the_batch(self, runner, ask):
        spec = "vcd+noise_control"
        found = []
        for batch_size, order in ((1, 1), (3, -1)):
            made = runner("llava", spec, batch_size=batch_size)
            prompts = prompts_of(ask, made.encoder)[::order]
            found.append(texts(made.generate(prompts, [FIVE] * 3))[::order])
            made.close()
        assert found[0] == found[1]

    def test_passes_of_a_selection_are_counted(self, runner, ask):
        made = runner("llama", "best_of_n(n=3)")
        answers = made.generate([ask(made.encoder, QUESTIONS[0])], [Settings(4)])
        assert made.cost.forward_passes >= 3 > 0
        assert made.cost.forward_passes <= 3 * 4
        assert answers[0].generated_tokens <= 4


def test_questions_keep_the_places_of_their_pictures(runner):
    encoder = runner("llava").encoder
    parts = [_image(1), _text("First\nline"), _image(2), _text("then."), _image(3)]
    prompt = encoder.render([{"role": "user", "content": parts}], "t/0")
    question = question_of(prompt)
    assert question.text == "First\nline\nthen." and len(question.images) == 3

    def shown(**changes):
        made = with_question(encoder, prompt, replace(question, **changes))
        assert question_of(made) == replace(question, **changes)
        return [
            part["text"] if part["type"] == "text" else part["image"].size
            for part in made.messages[0]["content"]
        ]

    own = question.images[0].size
    assert with_question(encoder, prompt, question) is prompt
    assert shown(text="1st\n\nlast.") == [own, "1st\n", own, "last.", own]
    assert shown(text="one line") == [own, own, "one line", own]
    other = Image.new("RGB", (9, 9))
    three = (other, *question.images[1:])
    assert shown(images=three) == [(9, 9), "First\nline", own, "then.", own]
    assert shown(images=(other,)) == [(9, 9), "First\nline", "then."]
    assert shown(images=(), text="x") == ["x"]
