"""Re-reading: ask the model to read the question a second time.

Xu et al., "Re-Reading Improves Reasoning in Large Language Models", EMNLP 2024, arXiv 2309.06275;
code Tebmer/Rereading-LLM-Reasoning.

Equations
---------
A question ``q`` is read ``times`` times in all; ``times - 1`` of the joiner and ``q`` follow it::

    q + " \\n\\nRead the question again: " + q

The options of a multiple-choice question are part of ``q``. Only the user's last turn is touched:
pictures and system prompt are not repeated, nor few-shot examples that are turns of their own, and
the pictures stay before the first reading. A turn without a question is unchanged.

Cost
----
None a token; one longer prompt to read. The model's insides are not touched.

Paper and code
--------------
The joiner is the code's, with a blank and two line ends; the paper's figure shows one line end. The
code writes ``Q:`` before the question and ``A:``, with ``Let's think step by step.`` for a chain of
thought, behind the instruction; here that is left to the task's own prompt.

The answer-format instruction is not repeated in the paper. A prompt does not say where it begins,
so name the words that the instruction starts with: ``re2(format_from=Answer)`` repeats only what
stands before the last line that starts with ``Answer``. Without it the whole turn is the question.

Where a harness writes few-shot examples and question into one text (lm-eval unless it is given
``--apply_chat_template --fewshot_as_multiturn``) nothing tells them apart, and all of it is read
again. Where answers are scored, the context is rewritten and the answers are not.

Published
---------
Accuracy at temperature 0 with one and two readings, single runs, recomputed from the result files
in the authors' repository (the paper's tables differ slightly). GSM8K, without and with a chain of
thought: gpt-3.5-turbo 77.48 to 78.09 and 77.94 to 79.45, text-davinci-003 19.41 to 19.41 and 58.83
to 60.88, gpt-4o-mini 93.40 to 94.09 and 92.87 to 94.24. CommonsenseQA: 76.66 to 78.38 and 69.94 to
71.66, 74.20 to 76.99 and 71.66 to 73.05, 82.56 to 83.95 and 82.64 to 83.78. The abstract reports
gains throughout 14 data sets, but for some cases of ChatGPT without a chain of thought.

Unverified
----------
Any gain with pictures: the results are of text models. The paper's own tables, which were not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmms_causal.errors import UserError
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method
from lmms_causal.interventions.turns import split_format

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
        question, instruction = split_format(text, self.format_from)
        if not question.strip():
            return text
        head = question.rstrip()
        again = f" \n\nRead the question again: {head.lstrip()}"
        return head + again * (self.times - 1) + question[len(head) :] + instruction
