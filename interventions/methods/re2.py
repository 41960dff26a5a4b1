"""Re-reading: ask the model to read the question a second time.

Xu et al., "Re-Reading Improves Reasoning in Large Language Models", EMNLP 2024, arXiv 2309.06275;
code Tebmer/Rereading-LLM-Reasoning.

The question is followed by the phrase ``Read the question again:`` and the question once more, for
``times`` readings in all. Only the user's last turn is touched: images and system prompt
are not repeated, nor few-shot examples that are turns of their own. Where a harness writes examples
and question into one text (lm-eval unless it is given ``--apply_chat_template
--fewshot_as_multiturn``) nothing tells them apart, and all of it is read again. One longer prefill;
no further cost per token.

The answer-format instruction is not repeated in the paper. A prompt does not say where it begins,
so name the words that the instruction starts with: ``re2(format_from=Answer)`` repeats only what
stands before the last line that starts with ``Answer``. Without it the whole turn is the question.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmms_causal.errors import UserError
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["Re2"]


@method
@dataclass(frozen=True)
class Re2:
    """Parameters of re-reading.

    Attributes:
        times: number of readings; 1 leaves the prompt unchanged.
        format_from: first words of the line at which the answer-format instruction starts.
    """

    times: int = 2
    format_from: str | None = None

    def __post_init__(self) -> None:
        if self.times < 1:
            raise UserError(f"intervention re2: times={self.times} must be 1 or more")
        if self.format_from is not None and not self.format_from.strip():
            raise UserError("intervention re2: format_from is empty; every line starts with that")

    def plan(self) -> Plan:
        """Rewrite the prompt, unless it is read once anyway."""
        return Plan(rewrites=(self.reread,)) if self.times > 1 else Plan()

    def reread(self, text: str) -> str:
        """Return the turn with its question repeated; a turn without a question is unchanged."""
        question, instruction = self._split(text)
        if not question.strip():
            return text
        head = question.rstrip()
        again = f" \n\nRead the question again: {head.lstrip()}"
        return head + again * (self.times - 1) + question[len(head) :] + instruction

    def _split(self, text: str) -> tuple[str, str]:
        if self.format_from is None:
            return text, ""
        lines = text.splitlines(keepends=True)
        starts = [i for i, line in enumerate(lines) if line.lstrip().startswith(self.format_from)]
        if not starts:
            return text, ""
        return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])
