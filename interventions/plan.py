"""A plan: what a method wants done, as data. Branches, one combination of logits, prompt rewrites.

Nothing here runs a model; :mod:`~lmms_causal.interventions.engine` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Branch", "Combine", "Plan", "Rewrite", "WithoutImage"]

MediaEdit = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Model inputs (``pixel_values``, grids, ...) to the inputs to replace, e.g. noised pixels."""

Rewrite = Callable[[str], str]
"""The text of the user's last turn to the text that is sent instead."""

WithoutImage = Literal["refuse", "skip"]
"""What to do with a prompt that has no image, where a method needs one."""


@dataclass(frozen=True)
class Branch:
    """A further view of the same prompt (same token ids) that is run beside the factual one.

    Attributes:
        name: the key under which :class:`Combine` finds the branch's logits.
        media: replaces the prompt's image or video inputs in this branch.
        without_image: whether a prompt without images is an error or is left untouched.
    """

    name: str
    media: MediaEdit
    without_image: WithoutImage = "refuse"


@dataclass(frozen=True)
class Combine:
    """How the branches' logits become the logits that are decoded or scored.

    Attributes:
        method: the name of the method, for error messages.
        function: ``(factual [..., V], {branch: [..., V]}, scoring) -> [..., V]``, all float32 and
            without in-place changes. ``scoring`` is true for log-likelihoods, where no token may
            become impossible.
    """

    method: str
    function: Callable[[Tensor, Mapping[str, Tensor], bool], Tensor]


@dataclass(frozen=True)
class Plan:
    """The contributions of one method, or of several composed by :meth:`then`."""

    branches: tuple[Branch, ...] = ()
    combine: Combine | None = None
    rewrites: tuple[Rewrite, ...] = ()

    @property
    def touches_model(self) -> bool:
        """Whether the model's forward pass changes at all."""
        return self.combine is not None

    def then(self, other: Plan) -> Plan:
        """Compose: rewrites run in the order named; branches add up; one combination of logits.

        Raises:
            UserError: both plans combine logits. Two contrasts have no canonical order.
        """
        if self.combine and other.combine:
            raise UserError(
                f"interventions {self.combine.method} and {other.combine.method} both replace the "
                "logits and cannot be composed; use one of them"
            )
        return replace(
            self,
            branches=self.branches + other.branches,
            combine=self.combine or other.combine,
            rewrites=self.rewrites + other.rewrites,
        )

    def rewrite(self, text: str) -> str:
        """Return the user's last turn as the composed methods send it."""
        for rewrite in self.rewrites:
            text = rewrite(text)
        return text
