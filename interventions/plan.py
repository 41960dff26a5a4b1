"""A plan: what a method wants done, as data. The language between methods and the engine.

The *factual* pass is the model on the prompt as it was asked. A plan names

* **branches**: further views of the same prompt, run beside the factual one (a noised picture, no
  picture, another instruction, edited attention);
* **increments**: what a method adds to the factual logits, computed from the branches or from the
  factual pass's own early layers;
* **attention** and **residual** edits, **positions** and **steering** of the factual pass, and
  **probes** that are run once before it;
* **rewrites** and **preparations** of the question before it becomes tokens;
* a **selection** among several answers, a **temperature**, a **control**.

Composition. With ``l`` the factual logits of the (possibly edited) pass, ``d_m`` the increment of
method ``m`` and ``K_b(l)`` the tokens with ``p >= b * max p`` under ``l``, the decoded logits are

    (l + sum_m d_m) / temperature     on the intersection of all K_b(l), else -inf

Every increment and every set is computed from the same ``l``, so the order in which methods are
named does not matter to them. One contrast ``(1 + a) l - a c`` is the increment ``a (l - c)``.
Nothing here runs a model; :mod:`~lmms_causal.interventions.engine` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.interventions.contributions import (
    Branch,
    Control,
    Increment,
    PositionEdit,
    Probe,
    ResidualEdit,
    Selection,
    Signals,
    Steering,
    WithoutImage,
)
from lmms_causal.interventions.question import Assistant, Preparation, Question, Rewrite

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter
    from lmms_causal.interventions.attention.edits import AttentionEdit

__all__ = [
    "Branch",
    "Control",
    "Increment",
    "Plan",
    "PositionEdit",
    "Probe",
    "ResidualEdit",
    "Selection",
    "Signals",
    "Steering",
    "WithoutImage",
]

Requirement = Callable[["ModelAdapter"], "str | None"]
"""Why a method cannot run on a model, or None."""


@dataclass(frozen=True)
class Plan:
    """The contributions of one method, or of several composed by :meth:`then`."""

    branches: tuple[Branch, ...] = ()
    increments: tuple[Increment, ...] = ()
    attention: tuple[AttentionEdit, ...] = ()
    residual: tuple[ResidualEdit, ...] = ()
    probes: tuple[Probe, ...] = ()
    positions: PositionEdit | None = None
    steering: Steering | None = None
    temperature: float | None = None
    control: Control | None = None
    selection: Selection | None = None
    rewrites: tuple[Rewrite, ...] = ()
    preparations: tuple[Preparation, ...] = ()
    requirements: tuple[Requirement, ...] = field(default=())

    @property
    def edits_model(self) -> bool:
        """Whether the factual pass itself is edited."""
        return bool(self.steering or self.attention or self.residual or self.positions)

    @property
    def reads_segments(self) -> bool:
        """Whether prompts must declare segments."""
        return any(edit.reads_segments for edit in self.attention)

    @property
    def reads_sentences(self) -> bool:
        """Whether an edit means sentences of the user's turn."""
        edits = (*self.attention, *(edit for branch in self.branches for edit in branch.attention))
        return any(edit.reads_sentences for edit in edits)

    @property
    def reads_pictures(self) -> bool:
        """Whether an edit reads how the tokens of pictures lie on them."""
        edits = (*self.attention, *(edit for branch in self.branches for edit in branch.attention))
        return any(edit.reads_pictures for edit in edits)

    @property
    def reads_parts(self) -> bool:
        """Whether it matters where the parts of a prompt are."""
        return bool(self.attention or self.residual or self.positions)

    @property
    def needs_positions(self) -> bool:
        """Whether an edit reads the position of each token."""
        return any(edit.operation.stage == "all" for edit in self.attention)

    @property
    def keeps_all_keys(self) -> bool:
        """Whether layers with a window must keep what has left it, because an edit may read it."""
        edits = (*self.attention, *(edit for branch in self.branches for edit in branch.attention))
        return self.needs_positions or any(edit.operation.reveals for edit in edits)

    @property
    def changes_logits(self) -> bool:
        """Whether the logits of a forward pass change."""
        return bool(self.increments or self.temperature) or self.edits_model

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
            or any(edit.counts_tokens for edit in (*self.attention, *self.residual))
        )

    @property
    def reads_questions(self) -> bool:
        """Whether the question itself is needed, before it becomes tensors."""
        return bool(self.preparations) or any(branch.view is not None for branch in self.branches)

    def then(self, other: Plan) -> Plan:
        """Compose. Increments add up; edits, rewrites and preparations run in the order named.

        Raises:
            UserError: both steer, select, set positions or a temperature, randomise, place segments
                or replace attention, or both have a branch of one name with different contents.
        """
        return Plan(
            branches=_merged("branch", self.branches, other.branches),
            increments=self.increments + other.increments,
            attention=_composed(self.attention, other.attention),
            residual=self.residual + other.residual,
            probes=_merged("probe", self.probes, other.probes),
            positions=_one("set positions", self.positions, other.positions),
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


def _merged(kind: str, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both, those of one name once."""
    named = {it.name: it for it in first}
    for it in second:
        if named.setdefault(it.name, it) != it:
            raise UserError(f"two interventions define the {kind} {it.name!r} differently; use one")
    return tuple(named.values())


def _composed(
    first: tuple[AttentionEdit, ...], second: tuple[AttentionEdit, ...]
) -> tuple[AttentionEdit, ...]:
    """Both lists of attention edits, if together they mean something."""
    ours, theirs = ({edit.operation.replaces for edit in edits} for edits in (first, second))
    for does in (ours & theirs) - {""}:
        raise UserError(f"two interventions {does} and cannot be composed; use one")
    stages = [edit.operation.stage for edit in first + second]
    if "all" in stages and any(stage not in ("all", "output") for stage in stages):
        raise UserError(
            "position-invariant attention computes masks and scores of its own: it cannot be "
            "composed with an intervention that edits those; use one"
        )
    return first + second
