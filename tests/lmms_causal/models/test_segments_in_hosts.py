"""How tasks declare segments in both harnesses, and what an intervention is told of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from lm_eval.api.instance import Instance as TextInstance
from lmms_eval.api.instance import Instance, unwrap_generation_output

from lmms_causal.errors import UserError
from lmms_causal.interventions import Handle, Increment, Plan, registry
from lmms_causal.interventions.edits.tokens import appended
from lmms_causal.models import for_lm_eval, for_lmms_eval
from lmms_causal.segments import is_marked, mark
from lmms_causal.testing import picture

OPTIONS = (("the wind\n", "the boy; \n", "a red ball\n"), ("yes\n", "no, the c\n"))
HEAD, TAIL = "Which is the cause?\n", "Answer with the option."
REGEX = r"^(?:the|a|yes|no).*\n"
ANSWERS = (" the wind", " the boy")
PICTURE = "<image>\n"


def document(index, form, options=OPTIONS):
    """A document whose segments are declared in one of three ways, or not at all."""
    listed = options[index]
    text = HEAD + (mark(listed) if form == "marks" else "".join(listed)) + TAIL
    return {"text": text, "seed": index, **({"segments": list(listed)} if form == "field" else {})}


@pytest.fixture
def told(monkeypatch):
    """Register ``segmented`` and ``turning``, which do nothing; return what they are told."""
    seen = []

    def named(name):
        return property(lambda plan: any(it.method == name for it in plan.increments))

    for name in ("segmented", "turning"):

        @dataclass(frozen=True)
        class Method:
            def plan(self, name=name) -> Plan:
                return Plan(increments=(Increment(name),))

        monkeypatch.setattr(Method, "__module__", name)
        monkeypatch.setitem(registry._registered, name, Method)
    monkeypatch.setattr(Plan, "reads_segments", named("segmented"))
    monkeypatch.setattr(Plan, "reads_parts", named("turning"))
    request = Handle.request

    def listening(self, *, parts=None, **others):
        seen.append(parts)
        return request(self, parts=parts, **others)

    monkeypatch.setattr(Handle, "request", listening)
    return seen


class Lmms:
    """The chat type and its simple twin in lmms-eval."""

    def __init__(self, folder, form="field", spec=None, simple=False, docs=None, **more):
        self.simple = self.scores = simple
        cls = for_lmms_eval.CausalSimple if simple else for_lmms_eval.Causal
        listed = "".join(f",{name}={value}" for name, value in more.items())
        self.model = cls.create_from_arg_string(
            f"pretrained={folder},interventions={spec}{listed}",
            {"batch_size": 1 if "base" in more else 2, "device": "cpu"},
        )
        self.docs = docs or [document(n, form) for n in range(len(OPTIONS))]
        self.model.task_dict["toy"] = {"test": self.docs}

    def _instance(self, kind, arguments, doc_id, index=0):
        origin = {"task": "toy", "doc_id": doc_id, "repeats": 1}
        return Instance(kind, (*arguments, doc_id, "toy", "test"), index, origin)

    def generate(self):
        def messages(doc):
            shown = {"type": "image", "url": picture(doc["seed"])}
            return [{"role": "user", "content": [shown, {"type": "text", "text": doc["text"]}]}]

        settings = {"max_new_tokens": 4, "do_sample": False, "until": ["zzz"]}
        given = (messages, settings)
        if self.simple:
            given = (settings, lambda doc: [picture(doc["seed"])])
        requests = [
            self._instance("generate_until", (doc["text"], *given), n)
            for n, doc in enumerate(self.docs)
        ]
        answers = self.model.generate_until(requests)
        return [unwrap_generation_output(answer)[0] for answer in answers]

    def score(self):
        requests = [
            self._instance(
                "loglikelihood",
                (doc["text"], answer, lambda doc: [picture(doc["seed"])]),
                n,
                index,
            )
            for n, doc in enumerate(self.docs)
            for index, answer in enumerate(ANSWERS)
        ]
        return [unwrap_generation_output(it)[0][0] for it in self.model.loglikelihood(requests)]

    def rows(self):
        """Ids of the prompts as they are encoded, and the prompts."""
        encoder = self.model._readers()
        made = []
        for n, doc in enumerate(self.docs):
            content = [
                {"type": "image", "url": picture(doc["seed"])},
                {"type": "text", "text": doc["text"]},
            ]
            turns = [{"role": "user", "content": content}]
            turns = self.model._conversation(turns, doc, f"toy/{n}/0")
            made.append(encoder.render(turns, f"toy/{n}/0"))
        return encoder, made


class Lm:
    """The text and the multimodal model in lm-eval, with the chat template or without."""

    scores = True

    def __init__(
        self, folder, form="field", spec=None, chat=True, images=False, docs=None, before="", **more
    ):
        cls = for_lm_eval.CausalMultimodal if images else for_lm_eval.Causal
        arguments = {"pretrained": folder, "device": "cpu", "interventions": spec, "batch_size": 2}
        self.model = cls.create_from_arg_obj({**arguments, **more})
        self.docs = docs or [document(n, form) for n in range(len(OPTIONS))]
        self.images = images
        self.contexts = []
        for doc in self.docs:
            text = before + PICTURE * images + doc["text"]
            turns = [{"role": "user", "content": text}]
            self.contexts.append(self.model.apply_chat_template(turns) if chat else f"{text}\nA: ")

    def _requests(self, kind, arguments):
        return [
            TextInstance(
                kind,
                doc,
                (context, given, *([{"visual": [picture(doc["seed"])]}] if self.images else [])),
                index,
                ("toy", n, 1),
            )
            for n, (doc, context) in enumerate(zip(self.docs, self.contexts, strict=True))
            for index, given in enumerate(arguments)
        ]

    def generate(self):
        settings = {"max_gen_toks": 4, "do_sample": False, "until": ["zzz"]}
        return self.model.generate_until(self._requests("generate_until", [settings]))

    def score(self):
        found = self.model.loglikelihood(self._requests("loglikelihood", ANSWERS))
        return [score for score, _ in found]

    def rows(self):
        requests = self.model._rewritten(self._requests("loglikelihood", ANSWERS[:1]))
        made = [self.model._prompt(it, f"toy/{n}") for n, it in enumerate(requests)]
        return self.model.runner.encoder, made


HOSTS = {
    "lmms-eval chat": (Lmms, "llava", {}),
    "lmms-eval simple": (Lmms, "qwen2_vl", {"simple": True}),
    "lm-eval chat": (Lm, "llama", {"chat": True}),
    "lm-eval raw": (Lm, "qwen2", {"chat": False}),
    "lm-eval chat image": (Lm, "qwen2_5_vl", {"chat": True, "images": True}),
    "lm-eval raw image": (Lm, "llava", {"chat": False, "images": True}),
}


@pytest.fixture(params=HOSTS)
def host(request, saved):
    """``host(form, spec, ...)``: a model with two documents to ask it about."""
    cls, name, more = HOSTS[request.param]
    return lambda form="field", spec=None, **others: cls(
        saved(name), form, spec, **{**more, **others}
    )


class TestDeclaring:
    @pytest.mark.parametrize("form", ["field", "marks", "regex"])
    def test_an_intervention_is_told_the_same_however_they_are_declared(self, host, told, form):
        model = host(form, "segmented", **({"segment_regex": REGEX} if form == "regex" else {}))
        model.generate()
        parts = [it for batch in told for it in batch]
        encoder, prompts = model.rows()
        for prompt, options in zip(prompts, OPTIONS, strict=True):
            assert prompt.text.count(HEAD + "".join(options) + TAIL) == 1
            (mine,) = (it for it in parts if len(it.segments[0]) == len(options))
            row = encoder.encode([prompt])["input_ids"][0].tolist()
            decode = encoder.tokenizer.decode
            assert tuple(decode(row[a:b]) for a, b in mine.segments[0]) == options
            assert HEAD in decode(row[slice(*mine.turn)]) and TAIL in decode(row[slice(*mine.turn)])

    def test_an_intervention_that_reads_none_gets_the_plain_prompt(self, host, told):
        """Marked or not: the text, question, tokens and answers of a task without segments."""
        plain = host("none")
        expected = plain.generate()
        encoder, prompts = plain.rows()
        for form in ("field", "marks"):
            model = host(form)
            assert model.generate() == expected
            for prompt, other in zip(model.rows()[1], prompts, strict=True):
                assert (prompt.text, prompt.question) == (other.text, other.question)
                assert prompt.segments == () and not is_marked(prompt.text)
                tokens = [encoder.encode([it])["input_ids"] for it in (prompt, other)]
                assert tokens[0].equal(tokens[1])
            if model.scores:
                assert model.score() == plain.score()
        assert len(told) >= 3 and not any(told)

    def test_candidates_score_as_after_tokens_in_pieces(self, host, told):
        """By one unpadded forward pass each, on the tokens of the pieces and of the candidate."""
        model = host("field", "segmented")
        if not model.scores:
            with pytest.raises(UserError, match="--force_simple"):
                model.score()
            return
        found = iter(model.score())
        encoder, prompts = model.rows()
        plain = host("none")
        plain.generate()  # loads it
        for prompt in prompts:
            context = encoder.context(prompt)
            border = context.segments[0][-1][1]
            tail, longer = context.text[border:], prompt.text[border:]
            for answer in ANSWERS:
                inputs = encoder.encode([context])
                whole = encoder.tokenizer(longer + answer, add_special_tokens=False)["input_ids"]
                piece = encoder.tokenizer(tail, add_special_tokens=False)["input_ids"]
                assert inputs["input_ids"][0, -len(piece) :].tolist() == piece
                added = whole[len(piece) :]
                with torch.no_grad():
                    logits = plain.model.model(**appended(inputs, [added])).logits[0].double()
                steps = logits[-len(added) - 1 : -1].log_softmax(dim=-1)
                total = sum(step[token].item() for step, token in zip(steps, added, strict=True))
                expected = -total / len(added) if isinstance(model, Lmms) else total
                assert next(found) == pytest.approx(expected, abs=2e-4 * len(added))

    def test_a_plan_that_reads_the_turn_is_told_it_and_tokens_stay(self, host, told):
        for index, options in enumerate(OPTIONS):
            told.clear()
            model = host("marks", "turning", docs=[document(index, "marks")])
            model.generate()
            ((mine,),) = told
            encoder, (prompt,) = model.rows()
            row = encoder.encode([prompt])["input_ids"][0].tolist()
            words = encoder.tokenizer.decode(row[slice(*mine.turn)])
            assert HEAD + "".join(options) + TAIL in words and "assistant" not in words.lower()
            assert mine.segments == ()

    @pytest.mark.parametrize(
        "form, changes, message",
        [
            ("none", {}, r"toy/0/0: interventions=segmented\(\) reads segm.*segment_regex=REGEX"),
            ("regex", {}, r"segment_regex=zzz matches nothing in the user's turn"),
            ("field", {"segments": ["a", "b"]}, r"toy/0/0: .* has the segments 'ab' 0 times"),
            ("field", {"segments": ["th", "e"]}, r"toy/0/0: .* has the segments 'the' [3-5] times"),
            ("field", {"segments": "the"}, r"toy/0/0: the field segments is 'the'"),
            ("field", {"segments": [["the wind\n"], ["wind"]]}, "inside of another group"),
            ("marks", {"text": mark(["a"])[:-1]}, r"toy/0/0: the segment 'a.* is not closed"),
            (
                "marks",
                {"text": f"{mark(['a'])}-{mark(['b'])}"},
                r"toy/0/0: there is text between all 2 segments",
            ),
        ],
    )
    def test_what_is_wrong_with_a_declaration_is_told_before_the_weights_load(
        self, host, told, monkeypatch, form, changes, message
    ):
        from transformers import PreTrainedModel

        monkeypatch.setattr(
            PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("loaded")
        )
        doc = {**document(0, "none"), **changes}
        more = {"segment_regex": "zzz"} if form == "regex" else {}
        with pytest.raises(UserError, match=message) as caught:
            host(form, "segmented", docs=[doc], **more).generate()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("form", ["field", "marks", "regex"])
    def test_a_repeated_question_is_refused_with_the_interventions_in_order(self, host, told, form):
        more = {"segment_regex": REGEX} if form == "regex" else {}
        with pytest.raises(UserError, match=r"=segmented\(\)\+re2.* 2 times.*rewrites"):
            host(form, "segmented+re2", **more).generate()
        told.clear()
        kept = "segmented+re2(format_from=Which)"  # all of the turn is instruction: not repeated
        host(form, kept, **more).generate()
        assert all(len(it.segments) == 1 for batch in told for it in batch)


class TestTurns:
    def test_markers_in_earlier_turns_of_lm_eval_do_not_count(self, saved, told):
        model = Lm(saved("llama"), "marks", "segmented")
        shots = [
            {"role": "user", "content": HEAD + mark(["x\n", "y\n"]) + TAIL},
            {"role": "assistant", "content": "x"},
        ]
        model.contexts = [
            model.model.apply_chat_template([*shots, {"role": "user", "content": doc["text"]}])
            for doc in model.docs
        ]
        assert not any(map(is_marked, model.contexts))
        model.generate()
        _, prompts = model.rows()
        assert [len(prompt.segments) for prompt in prompts] == [1, 1]
        assert shots[0]["content"] == HEAD + mark(["x\n", "y\n"]) + TAIL  # left as it was given

    def test_a_field_may_name_text_that_an_example_has_too_in_turns_of_its_own(self, saved, told):
        model = Lm(saved("llama"), "field", "segmented")
        turns = [
            {"role": "user", "content": model.docs[0]["text"]},
            {"role": "assistant", "content": "x"},
        ]
        model.contexts = [
            model.model.apply_chat_template([*turns, {"role": "user", "content": doc["text"]}])
            for doc in model.docs
        ]
        model.generate()
        with pytest.raises(UserError, match=r"toy/0/0: .* 2 times"):  # one turn with all of them
            Lm(
                saved("llama"), "field", "segmented", before=model.docs[0]["text"] + "\n\n"
            ).generate()

    def test_rolling_scores_have_no_turn(self, saved, told):
        with pytest.raises(UserError, match="rolling"):
            Lm(saved("llama"), "field", "segmented").model.loglikelihood_rolling([])

    def test_a_prepared_question_has_its_segments_where_they_are_then(self, saved, told, toys):
        """And what a preparation asks has none."""
        for cls, name in ((Lmms, "llava"), (Lm, "llama")):
            told.clear()
            model = cls(saved(name), "field", "segmented+described")
            model.generate()
            parts = [it for batch in told for it in batch]
            encoder, prompts = model.rows()
            assert sorted(len(it.segments[0]) for it in parts) == [2, 3]
            for prompt in prompts:  # as they were before "Seen: ..." was written in front
                (group,) = encoder.encode_segments([prompt])[1][0]
                (mine,) = (it for it in parts if len(it.segments[0]) == len(group))
                moved = mine.segments[0][0][0] - group[0][0]
                assert moved > 5 and mine.segments[0] == tuple(
                    (a + moved, b + moved) for a, b in group
                )

    def test_a_view_of_other_pictures_has_the_tokens_of_the_pieces(self, saved, told, toys):
        for made in (
            Lmms(saved("llava"), "field", "segmented+mirrored"),
            Lm(saved("qwen2_vl"), "marks", "segmented+mirrored", images=True),
        ):
            made.generate()
        assert len(toys.viewed) == 4
        assert not any(is_marked(text) for _, text in toys.viewed)

    def test_a_conversation_without_a_user_s_turn_has_no_segments(self, saved, told):
        marking = Lmms(saved("llava"), "field", "segmented").model._marking
        turns = [{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}]
        with pytest.raises(UserError, match=r"toy/1: .* this conversation has none"):
            marking.conversation(turns, list, {"segments": ["Yes."]}, "toy/1")

    def test_the_expression_is_part_of_what_a_cache_is_for(self, saved):
        plain, other = (
            for_lm_eval.Causal.create_from_arg_obj(
                {"pretrained": saved("llama"), "device": "cpu", **more}
            ).identity
            for more in ({}, {"segment_regex": "^a.*\n"})
        )
        assert plain != other


class TestOtherWrappers:
    def test_they_cannot_keep_segments_apart_and_read_plain_prompts(self, saved, told):
        with pytest.raises(UserError, match=r"segments.*leave out base= and use the model causal"):
            Lm(saved("llama"), "field", "segmented", base="hf")
        marked, plain = (
            Lm(saved("llama"), form, base="hf", chat=False) for form in ("marks", "none")
        )
        assert marked.generate() == plain.generate()
        assert marked.score() == plain.score()
        Lm(saved("llama"), "none", "turning", base="hf").generate()

    def test_lmms_eval_s_wrappers_read_plain_prompts(self, saved, told):
        pytest.importorskip("decord", reason="lmms-eval's own wrappers import decord: decord2")
        more = {"base": "llava_hf", "device_map": "cpu"}
        with pytest.raises(UserError, match=r"segments.*leave out base= and use the model causal"):
            Lmms(saved("llava"), "field", "segmented", **more)
        marked, plain = (Lmms(saved("llava"), form, **more) for form in ("marks", "none"))
        assert marked.generate() == plain.generate()


def test_pine_scores_and_answers_alike_in_every_order(host):
    """What all of it is for: its segments reach it as tokens that depend on their order alone."""
    orders = (OPTIONS[0], (OPTIONS[0][2], *OPTIONS[0][:2]))
    docs = [{"text": HEAD + "".join(it) + TAIL, "seed": 0, "segments": list(it)} for it in orders]
    changes = {}
    for spec in ("none", "pine"):
        model = host("field", spec, docs=docs)
        first, second = model.generate()
        assert spec == "none" or first == second
        if model.scores:
            scores = model.score()
            pairs = zip(scores[: len(ANSWERS)], scores[len(ANSWERS) :], strict=True)
            changes[spec] = max(abs(a - b) for a, b in pairs)
    if changes:
        assert changes["pine"] < 2e-4 < 1e-2 < changes["none"]
