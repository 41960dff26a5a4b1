"""A loaded model with its intervention, as analyses use it: answer, read again, compare."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lmms_causal.attend.documents import Document
from lmms_causal.attend.traces import Trace
from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.analysis.sentences import Sentence, sentences
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.running import not_editable
from lmms_causal.interventions.attention.sentences import with_sentences
from lmms_causal.interventions.edits.tokens import appended
from lmms_causal.interventions.engine.guards import check_model
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.models.loading import Checkpoint
from lmms_causal.models.parts import parts_of
from lmms_causal.models.prompts import Encoder, Prompt, to_device

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A model under study.

    Attributes:
        name: what it was loaded from.
        model: without anything installed.
        encoder: renders and tokenises.
        adapter: the model's parts.
        spec: the interventions, as text.
        plan: what they do.
    """

    name: str
    model: Any
    encoder: Encoder
    adapter: ModelAdapter
    spec: str = "none"
    plan: Plan = field(default_factory=Plan)

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, spec: str | None = None, template: str | None = None
    ) -> Subject:
        """Load a checkpoint.

        Raises:
            UserError: it cannot be loaded; its attention cannot be read; the interventions cannot
                be analysed.
        """
        parsed = parse(spec)
        tokenizer, processor = checkpoint.load_readers()
        encoder = Encoder(tokenizer, processor, template)
        _check_plan(parsed.plan(), str(parsed))
        return cls.of(checkpoint.load_model(), encoder, str(parsed), checkpoint.pretrained)

    @classmethod
    def of(cls, model: Any, encoder: Encoder, spec: str = "none", name: str = "") -> Subject:
        """Take a model that is loaded already.

        Raises:
            UserError: as :meth:`load`.
        """
        parsed = parse(spec)
        plan = parsed.plan()
        _check_plan(plan, str(parsed))
        check_model(model)
        adapter = ModelAdapter.of(model, encoder.processor or encoder.tokenizer)
        if (reason := not_editable(adapter.attention)) is not None:
            raise UserError(reason)
        return cls(name or adapter.kind, model, encoder, adapter, str(parsed), plan)

    @property
    def heads(self) -> int:
        """Number of query heads in a layer."""
        return int(self.model.config.get_text_config().num_attention_heads)

    @torch.no_grad()
    def trace(self, document: Document, max_new_tokens: int = 0) -> Trace:
        """Read a document, and let the model answer if the document does not.

        Answers are greedy. They end before the first token that ends a text.

        Raises:
            UserError: the document cannot be shown to the model.
        """
        document = replace(document, prompt=self.plan.rewrite(document.prompt))
        rendered = self.encoder.render(document.messages(), document.id)
        # before a given answer, blanks at the prompt's end are tokenised with the answer
        prompt = self.encoder.context(rendered) if document.response else rendered
        inputs = self._tensors(prompt)
        start = inputs["input_ids"].shape[1]
        turn = parts_of(self.encoder, prompt, inputs["input_ids"][0].tolist(), ())
        if document.response:
            answer = self.encoder.continuation(rendered.outline, document.response)
        else:
            answer = self._answer(inputs, document.id, turn, max_new_tokens)
        read = to_device(appended(inputs, [answer]), self.model.device, self.model.dtype)
        text, found = sentences(self.encoder.tokenizer, answer)
        ids = read["input_ids"][0].tolist()
        layout = Layout.of(read, self.adapter, [turn], start)
        if self.plan.reads_sentences:
            layout = with_sentences(layout, read["input_ids"], self.encoder.tokenizer)
        needle = None
        if document.needle is not None:
            needle = self._needle(document, prompt, ids[:start])
        return Trace(
            document=document,
            inputs=read,
            start=start,
            layout=layout,
            turn=turn,
            answer=text,
            sentences=tuple(_moved(it, start) for it in found),
            needle=needle,
            texts=tuple(self.encoder.tokenizer.decode([token]) for token in ids),
        )

    def _tensors(self, prompt: Prompt) -> dict[str, Any]:
        return to_device(self.encoder.encode([prompt]), self.model.device, self.model.dtype)

    def _answer(self, inputs: dict[str, Any], key: str, turn: PromptParts, count: int) -> list[int]:
        """Greedy tokens under all of the plan."""
        if count < 1:
            return []
        tokenizer, config = self.encoder.tokenizer, self.model.generation_config
        with (
            apply(self.model, self.plan, self.encoder.processor or tokenizer) as handle,
            handle.request(documents=[key], parts=[turn]),
        ):
            output = self.model.generate(
                **inputs,
                max_new_tokens=count,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=tokenizer.pad_token_id,
            )
        answer: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
        ends = config.eos_token_id
        ends = {*(ends if isinstance(ends, (list, tuple)) else [ends]), tokenizer.eos_token_id}
        return answer[: next((i for i, token in enumerate(answer) if token in ends), len(answer))]

    def _needle(self, document: Document, prompt: Prompt, ids: Sequence[int]) -> tuple[int, int]:
        """Tokens of the needle: counted from the end, because pictures come before words."""
        tokenizer, text = self.encoder.tokenizer, prompt.text
        assert document.needle is not None
        first = text.find(document.needle)
        if first < 0 or text.find(document.needle, first + 1) >= 0:
            raise UserError(
                f"{document.id}: the needle {document.needle!r} must stand in the prompt once, "
                "verbatim"
            )
        if not tokenizer.is_fast:
            raise UserError(
                f"{document.id}: finding a needle's tokens needs a fast tokenizer, which "
                f"{type(tokenizer).__name__} is not"
            )
        read = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        places, last = read["offset_mapping"], first + len(document.needle)
        inside = [i for i, (a, b) in enumerate(places) if a < last and b > first]
        behind = len(places) - inside[0]
        if list(ids[-behind:]) != list(read["input_ids"][-behind:]):
            raise UserError(
                f"{document.id}: the needle cannot be followed through this model's processor; "
                "put pictures before the words"
            )
        return len(ids) - behind, len(ids) - (len(places) - inside[-1] - 1)

    @torch.no_grad()
    def run(
        self, inputs: Mapping[str, Any], start: int, turn: PromptParts | None, plan: Plan
    ) -> None:
        """Read a text once, under a plan; whoever wants something of it watches.

        Args:
            inputs: model inputs of a batch of one.
            start: how many of its tokens are prompt.
            turn: where the user's turn is; None if unknown.
            plan: edits of the model.
        """
        handle = apply(self.model, plan, self.encoder.processor or self.encoder.tokenizer)
        own = dict(inputs)
        if "logits_to_keep" in inspect.signature(self.adapter.model.forward).parameters:
            own["logits_to_keep"] = 1
        with handle, handle.request(prompt_length=start, parts=None if turn is None else [turn]):
            self.model(**own, use_cache=False)

    @property
    def edits(self) -> Plan:
        """The part of the plan that changes what the model itself computes."""
        return self.plan.without(
            "branches", "increments", "temperature", "control", "selection", "rewrites"
        )


def _moved(sentence: Sentence, start: int) -> Sentence:
    first, last = sentence.tokens
    return replace(sentence, tokens=(first + start, last + start))


def _check_plan(plan: Plan, spec: str) -> None:
    """Refuse what is not one pass over one text."""
    if plan.reads_segments:
        raise UserError(
            f"interventions={spec} places segments anew for every query, so there is no one "
            "attention matrix to analyse; use another intervention"
        )
    if plan.reads_questions or plan.selection is not None:
        raise UserError(
            f"interventions={spec} asks more than one question, or shows other pictures; attend "
            "analyses one pass: use an intervention that edits the model or its logits"
        )
