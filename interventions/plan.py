"""A plan: what a method wants done, as data. The language between methods and the engine.

The *factual* pass is the model on the prompt as it was asked. A plan names

* **branches**: further views of the same prompt, run beside the factual one (a noised picture, no
  picture, another instruction, edited attention);
* **increments**: what a method adds to the factual logits, computed from the branches or from the
  factual pass's own early layers;
* **steering**: a change of the factual pass's residual stream;
* **rewrites** and **preparations** of the question before it becomes tokens;
* a **selection** among several answers, a **temperature**, a **control**.

Composition. With ``l`` the factual logits of the (possibly steered) pass, ``d_m`` the increment of
method ``m`` and ``K_b(l)`` the tokens with ``p >= b * max p`` under ``l``, the decoded logits are

    (l + sum_m d_m) / temperature     on the intersection of all K_b(l), else -inf

Every increment and every set is computed from the same ``l``, so the order in which methods are
named does not matter. One contrast ``(1 + a) l - a c`` is the increment ``a (l - c)``. Nothing here
runs a model; :mod:`~lmms_causal.interventions.engine` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from lmms_causal.errors import UserError
from lmms_causal.interventions.question import Assistant, Preparation, Question, Rewrite, View

if TYPE_CHECKING:
    from torch import Tensor

    from lmms_causal.interventions.adapter import ModelAdapter
    from lmms_causal.interventions.edits.attention import WeightEdit
    from lmms_causal.interventions.edits.tokens import Token

__all__ = [
    "Branch",
    "Control",
    "Increment",
    "Plan",
    "Selection",
    "Signals",
    "Steering",
    "WithoutImage",
]

MediaEdit = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Model inputs (``pixel_values``, grids, ...) to the inputs to replace, e.g. noised pixels."""

TokenEdit = Callable[[Sequence["Token"], "ModelAdapter"], "list[Token]"]
"""A prompt's tokens, without padding, to the tokens of the branch's prompt."""

VisionScope = Callable[["ModelAdapter"], AbstractContextManager[Any]]
"""The scope in which the vision encoder runs for a branch, e.g. with edited attention."""

Layers = Callable[[int], Sequence[int]]
"""The number of layers to the indices meant, counted from 0; -1 for the embeddings where read."""

Requirement = Callable[["ModelAdapter"], "str | None"]
"""Why a method cannot run on a model, or None."""

WithoutImage = Literal["refuse", "skip"]
"""What to do with a prompt that has no image, where a method needs one."""


@dataclass(frozen=True)
class Branch:
    """A further view of the same prompt, run beside the factual one.

    Attributes:
        name: the key under which :class:`Signals` holds the branch's logits. Methods that share a
            branch give it one name and equal contents; it is then run once.
        media: replaces the prompt's picture or video tensors.
        view: replaces the prompt's pictures themselves, before the model's own processing.
        tokens: replaces the prompt's tokens; pictures whose placeholders are gone go with them.
        vision: the scope in which this branch's pictures are encoded.
        attention: edits of attention weights in the decoder.
        without_image: whether a prompt without images is an error or is left untouched; None where
            the branch makes sense without an image.
        first_token_only: whether the branch is run for the answer's first token only; its logits
            are the factual ones after it, as in releases that lost the branch's cache.
    """

    name: str
    media: MediaEdit | None = None
    view: View | None = None
    tokens: TokenEdit | None = None
    vision: VisionScope | None = None
    attention: tuple[WeightEdit, ...] = ()
    without_image: WithoutImage | None = "refuse"
    first_token_only: bool = False

    @property
    def keeps_pictures(self) -> bool:
        """Whether the branch is shown what the factual pass is shown, encoded in the same way."""
        return self.media is None and self.view is None and self.vision is None


@dataclass(frozen=True)
class Signals:
    """What an increment is computed from, at the ``K`` positions that are decoded or scored.

    Attributes:
        factual: logits ``[B, K, V]`` of the factual pass, float32.
        branches: logits ``[B, K, V]`` of each branch, float32; equal to ``factual`` where a branch
            does not apply (a row without an image, a position its prompt does not have).
        step: index ``[K]`` of the answer token that each position predicts, from 0; None if the
            caller did not say where the answer begins.
        depth: number of decoder layers.
        early: ``early(layer, normalise) -> [B, K, V]``: the output of a layer read through the
            language-model head, with or without the final norm. Only layers that the increment
            named can be read.
        seeds: a number for each row ``[B]``, a function of its document.
        scoring: whether log-likelihoods are computed, rather than an answer.
        tied: whether the head's weights are those of the embeddings, which read through it then
            say the token they stand for.
    """

    factual: Tensor
    branches: Mapping[str, Tensor]
    step: Tensor | None
    depth: int
    early: Callable[[int, bool], Tensor]
    seeds: tuple[int, ...]
    scoring: bool
    tied: bool = False


@dataclass(frozen=True)
class Increment:
    """What a method adds to the factual logits, and which tokens it allows at all.

    Attributes:
        method: the name of the method, for error messages.
        function: :class:`Signals` to ``[B, K, V]``, float32, without in-place changes; None adds
            nothing.
        branches: names of the branches it reads; it acts on rows where all of them apply.
        without_image: what becomes of prompts that have no image, as of a branch; None where they
            are like others.
        layers: decoder layers it reads through :attr:`Signals.early`.
        beta: excludes tokens whose factual probability is below ``beta`` times the best.
        counts_tokens: whether it reads :attr:`Signals.step`.
    """

    method: str
    function: Callable[[Signals], Tensor] | None = None
    branches: tuple[str, ...] = ()
    without_image: WithoutImage | None = None
    layers: Layers | None = None
    beta: float = 0.0
    counts_tokens: bool = False


@dataclass(frozen=True)
class Steering:
    """A push along ``h(prompt) - h(negative prompt)``, taken at the prompt's last token by layer.

    Attributes:
        method: the name of the method.
        negative: the branch (its token edit) that gives the negative prompt. It is run once.
        function: output of a layer's MLP ``[B, q, D]`` and the layer's vector ``[B, 1, D]``, both
            float32, to the steered output ``[B, q, D]``.
        layers: the layers steered; None means all.
    """

    method: str
    negative: Branch
    function: Callable[[Tensor, Tensor], Tensor]
    layers: Layers | None = None


@dataclass(frozen=True)
class Selection:
    """Several sampled answers, of which one is kept.

    Attributes:
        method: the name of the method.
        count: how many are drawn.
        temperature: of the draws, where the caller decodes greedily.
        by: ``likelihood``, the mean log-probability of a token, or ``majority``.
        seed: with a document's number, seeds its draws.
    """

    method: str
    count: int
    temperature: float
    by: Literal["likelihood", "majority"]
    seed: int = 0


@dataclass(frozen=True)
class Control:
    """Replaces the sum of all increments by a random one of equal norm, row by row.

    Attributes:
        method: the name of the method.
        seed: with a document's number, seeds its draws.
    """

    method: str
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """The contributions of one method, or of several composed by :meth:`then`."""

    branches: tuple[Branch, ...] = ()
    increments: tuple[Increment, ...] = ()
    steering: Steering | None = None
    temperature: float | None = None
    control: Control | None = None
    selection: Selection | None = None
    rewrites: tuple[Rewrite, ...] = ()
    preparations: tuple[Preparation, ...] = ()
    requirements: tuple[Requirement, ...] = field(default=())

    @property
    def changes_logits(self) -> bool:
        """Whether the logits of a forward pass change."""
        return bool(self.increments or self.steering or self.temperature)

    @property
    def touches_model(self) -> bool:
        """Whether anything has to be installed on the model."""
        return self.changes_logits or self.selection is not None

    @property
    def counts_tokens(self) -> bool:
        """Whether a forward pass must say where the answer begins."""
        return (
            self.steering is not None
            or any(increment.counts_tokens for increment in self.increments)
            or any(branch.first_token_only for branch in self.branches)
        )

    @property
    def reads_questions(self) -> bool:
        """Whether the question itself is needed, before it becomes tensors."""
        return bool(self.preparations) or any(branch.view is not None for branch in self.branches)

    def then(self, other: Plan) -> Plan:
        """Compose. Increments add up, rewrites and preparations run in the order named.

        Raises:
            UserError: both steer, select, set a temperature or randomise, or both have a branch of
                one name with different contents.
        """
        named = {branch.name: branch for branch in self.branches}
        for branch in other.branches:
            if named.setdefault(branch.name, branch) != branch:
                raise UserError(
                    f"two interventions define the branch {branch.name!r} differently; use one"
                )
        return Plan(
            branches=tuple(named.values()),
            increments=self.increments + other.increments,
            steering=_one("steer the residual stream", self.steering, other.steering),
            temperature=_one("set a temperature", self.temperature, other.temperature),
            control=_one("randomise the increment", self.control, other.control),
            selection=_one("select among answers", self.selection, other.selection),
            rewrites=self.rewrites + other.rewrites,
            preparations=self.preparations + other.preparations,
            requirements=self.requirements + other.requirements,
        )

    def checked(self) -> Plan:
        """Return the plan, if it makes sense as a whole.

        Raises:
            UserError: a control without an increment to control.
        """
        if self.control and not any(increment.function for increment in self.increments):
            raise UserError(
                f"intervention {self.control.method} randomises what other interventions add to "
                f"the logits, and none is named; write e.g. vcd+{self.control.method}"
            )
        return self

    def without(self, *names: str) -> Plan:
        """Return the plan with the named fields at their defaults."""
        empty = Plan()
        return replace(self, **{name: getattr(empty, name) for name in names})

    def rewrite(self, text: str) -> str:
        """Return the user's last turn as the composed methods send it."""
        for rewrite in self.rewrites:
            text = rewrite(text)
        return text

    def prepare(self, question: Question, assistant: Assistant) -> Question:
        """Return the question as the composed methods ask it."""
        for preparation in self.preparations:
            question = preparation(question, assistant)
        return question


def _one(does: str, first: Any, second: Any) -> Any:
    """The one that is given of two."""
    if first is not None and second is not None:
        names = " and ".join(getattr(it, "method", "temperature") for it in (first, second))
        raise UserError(f"interventions {names} both {does} and cannot be composed; use one")
    return second if first is None else first
