"""Delete words that may distract and keep the question whose answer is best. Experimental.

After the detection stage of LeaF, NeurIPS 2025, arXiv 2506.07851; code RUCBM/LeaF. LeaF itself is a
method of *training*: nothing that ``leaf_prune`` yields may be reported as a result of it.

Equations
---------
A greedy draft answer ``a`` to the question with tokens ``x_1 ... x_n`` (white space excluded) takes
the place of the reference answer. With ``e_i`` the input embedding of ``x_i``::

    g_i = || d loss(a | x) / d e_i ||_2,   loss = mean of -log p over the tokens of a
    h_i = (g_i - min g) / (max g - min g)
    distracting: h_i < min(t, 0.5),   t = the value at rank int(share n) of h in ascending order

So the ``int(share n)`` tokens that the answer depends on least are distracting, fewer where ranks
are shared, and none where all are alike. Each maximal run of neighbouring ones is deleted
separately, and every question so made is answered too. Kept is the question, the original included,

    select=likelihood   whose answer has the highest mean log-probability of a token under it
    select=majority     that is the first to give the most frequent answer

With ``words`` the given words are the distracting ones and no gradient is taken. Only words of the
question are deleted, never placeholders of pictures or what a template writes.

Cost
----
A generation of at most ``max_new_tokens`` for the original and for each of the ``R`` runs, with
``likelihood`` a pass over question and answer for each, and one backward pass, counted in seconds
only. All candidates that are scored for one document share them. A gradient needs memory for the
activations of one pass.

Paper and code
--------------
LeaF compares gradients of a student and a teacher for reference answers, takes the tokens with the
lowest difference of the two normalised norms, deletes each run separately, keeps deletions that
make both models right, and trains on them. Here there is no teacher, no reference answer and no
training; the lowest norms of the one model stand in for the difference. The quantile of 0.05, the
cap of 0.5 and that white space is never deleted are the code's. The paper's thresholds are 0.05 to
0.15.

Published
---------
None for this method. The training method: LLaMA3.2-3B, average on mathematics 44.29 to 53.21 (plain
distillation 50.29), on code 27.67 to 34.53 (31.89), by its repository. The gains at test time that
motivate it were measured with reference answers in the loss and in the filter, and cannot be had
without them.

Unverified
----------
Whether deleting what an answer depends on least helps at all. Whether the code's comparison with
the quantile is strict, as it is here.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.edits.tokens import appended
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.question import Assistant, Question
from lmms_causal.interventions.ranges import check_share
from lmms_causal.interventions.registry import method
from lmms_causal.interventions.turns import split_format

__all__ = ["LeafPrune", "deleted", "least", "runs", "token_ranges", "word_ranges"]

Range = tuple[int, int]
"""First character and the one behind the last."""

CAP = 0.5
_OTHER = "\u2042"  # a question that begins and ends like no other


@method
@dataclass(frozen=True)
class LeafPrune:
    """Parameters of the pruning.

    Attributes:
        words: words that are deleted, separated by blanks; None finds tokens by their gradient.
        share: share of the question's tokens, in [0, 1], that are taken for distracting.
        select: ``likelihood`` or ``majority``, which of the questions is kept.
        max_new_tokens: bound of every draft answer.
        format_from: first words of the line with which options or an instruction how to answer
            begin; nothing is deleted from there on.
    """

    words: str | None = None
    share: float = 0.05
    select: Literal["likelihood", "majority"] = "likelihood"
    max_new_tokens: int = 128
    format_from: str | None = None

    def __post_init__(self) -> None:
        if self.words is not None and not self.words.split():
            raise UserError("intervention leaf_prune: words is empty; name one, or leave it out")
        check_share(self, "share")
        if self.max_new_tokens < 1:
            raise UserError(
                f"intervention leaf_prune: max_new_tokens={self.max_new_tokens} must be 1 or more"
            )
        if self.format_from is not None and not self.format_from.strip():
            raise UserError("intervention leaf_prune: format_from is empty; every line starts so")

    def plan(self) -> Plan:
        """The question is replaced by a shorter one; nothing if there is nothing to delete."""
        if self.words is None and self.share == 0:
            return Plan()
        return Plan(preparations=(self.prepare,), requirements=(needs_words,))

    def prepare(self, question: Question, assistant: Assistant) -> Question:
        """Return the question, or one with a run of words deleted."""
        answers: list[str] = []
        asked = split_format(question.text, self.format_from)[0]
        if self.words is not None:
            ranges = word_ranges(asked, self.words.split())
        else:
            answers.append(assistant.ask(question, self.max_new_tokens))
            ranges = least_needed(assistant, question, answers[0], self.share, len(asked))
        texts = dict.fromkeys(deleted(question.text, run) for run in ranges)
        shorter = [replace(question, text=text) for text in texts if text.strip()]
        if not shorter:
            return question
        questions = [question, *shorter]
        answers += [assistant.ask(it, self.max_new_tokens) for it in questions[len(answers) :]]
        if self.select == "majority":
            counts = Counter(answer.strip() for answer in answers)
            values = [float(counts[answer.strip()]) for answer in answers]
        else:
            values = [
                -answer_loss(assistant, it, answer).item()
                for it, answer in zip(questions, answers, strict=True)
            ]
        return questions[values.index(max(values))]


def needs_words(adapter: ModelAdapter) -> str | None:
    """Say that there is no tokenizer to find words with, or None."""
    if adapter.tokenizer is None:
        return "leaf_prune deletes words of the prompt and has no tokenizer; pass processor="
    return None


def word_ranges(text: str, words: Sequence[str]) -> list[Range]:
    """Return the runs of given words in a line, in any case, with the blanks before them."""
    any_word = "|".join(re.escape(word) for word in words)
    one = rf"[^\S\n]*(?<!\w)(?:{any_word})(?!\w)"
    return [found.span() for found in re.finditer(rf"(?:{one})+", text, re.IGNORECASE)]


def deleted(text: str, run: Range) -> str:
    """Return the text without a range of characters; an empty range returns it unchanged."""
    start, end = run
    if start == end:
        return text
    before, after = text[:start], text[end:]
    return before + (after if before and not before.endswith("\n") else after.lstrip(" "))


def least(values: Tensor, share: float) -> list[int]:
    """Return the indices of the lowest of values ``[n]``, at most ``int(share n)``."""
    if not len(values) or values.max() == values.min():
        return []
    scaled = (values - values.min()) / (values.max() - values.min())
    rank = min(int(share * len(values)), len(values) - 1)
    threshold = min(scaled.sort().values[rank].item(), CAP)
    return [index for index, value in enumerate(scaled.tolist()) if value < threshold]


def runs(indices: Sequence[int]) -> list[list[int]]:
    """Return ascending indices in maximal runs of neighbours."""
    made: list[list[int]] = []
    for index in indices:
        if made and index == made[-1][-1] + 1:
            made[-1].append(index)
        else:
            made.append([index])
    return made


def token_ranges(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], text: str
) -> list[Range] | None:
    """Return which characters of a text each of its tokens stands for; None if it is not found.

    Args:
        ids: tokens of the text, with what the first and the last share with its surroundings.
        decode: tokens to text.
        text: the question.
    """
    whole = decode(ids)
    first = whole.find(text)
    if first < 0:
        return None
    ends = [0]
    for count in range(1, len(ids) + 1):  # a character may take several tokens
        ends.append(max(ends[-1], _shared(decode(ids[:count]), whole)))
    return list(pairwise(min(max(end - first, 0), len(text)) for end in ends))


def least_needed(
    assistant: Assistant, question: Question, answer: str, share: float, behind: int
) -> list[Range]:
    """Return the runs of a question's words that an answer depends on least, up to a character.

    Raises:
        UserError: the question's words are not in one piece in the prompt.
    """
    if not _tokens(assistant, answer):
        return []
    decode = assistant.adapter.tokenizer.decode

    def exactly(ids: Sequence[int]) -> str:
        return str(decode(ids, clean_up_tokenization_spaces=False))

    ids = _ids(assistant, question)
    other = _ids(assistant, replace(question, text=_OTHER))
    start = _shared(ids, other)
    asked = ids[start : len(ids) - _shared(ids[start:][::-1], other[start:][::-1])]
    ranges = token_ranges(asked, exactly, question.text)
    if ranges is None:
        raise UserError(
            f"{question.key}: leaf_prune cannot find the question's words in one piece in the "
            "prompt; pictures may stand between them; give words= instead"
        )
    words = [i for i, (a, b) in enumerate(ranges) if question.text[a:b].strip() and b <= behind]
    norms = gradient_norms(assistant, question, answer)[start:]
    chosen = [words[i] for i in least(norms[words], share)]
    return [(ranges[run[0]][0], ranges[run[-1]][1]) for run in runs(chosen)]


def gradient_norms(assistant: Assistant, question: Question, answer: str) -> Tensor:
    """Return the norm of the loss's gradient in each input embedding ``[L]``, on the CPU."""
    model = assistant.adapter.model
    with torch.inference_mode(False), torch.enable_grad(), _leaves(model) as embeddings:
        loss = answer_loss(assistant, question, answer)
        (gradient,) = torch.autograd.grad(loss, embeddings[0])
    return gradient[0].float().norm(dim=-1).cpu()


def answer_loss(assistant: Assistant, question: Question, answer: str) -> Tensor:
    """Return the mean negative log-probability of an answer's tokens; infinite without any."""
    tokens = _tokens(assistant, answer)
    if not tokens:
        return torch.tensor(torch.inf)
    model = assistant.adapter.model
    inputs = appended(assistant.encode(question), [tokens])
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        inputs["logits_to_keep"] = len(tokens) + 1
    logits = model(**inputs, use_cache=False).logits[0, -len(tokens) - 1 : -1]
    return cross_entropy(logits.float(), torch.tensor(tokens, device=logits.device))


@contextmanager
def _leaves(model: Any) -> Iterator[list[Tensor]]:
    """Record the input embeddings of passes as what gradients are taken in, and nothing else."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found: list[Tensor] = []

    def record(_: Any, __: Any, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1].clone()  # models write the features of pictures into it

    hook = model.get_input_embeddings().register_forward_hook(record)
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield found
    finally:
        hook.remove()
        for parameter in trained:
            parameter.requires_grad_()


def _tokens(assistant: Assistant, text: str) -> list[int]:
    return list(assistant.adapter.tokenizer(text, add_special_tokens=False)["input_ids"])


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """With how many equal items two sequences begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _ids(assistant: Assistant, question: Question) -> list[int]:
    ids: Tensor = assistant.encode(question)["input_ids"]
    return [int(token) for token in ids[0]]
