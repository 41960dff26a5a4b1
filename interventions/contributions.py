"""What a method can contribute to a plan, as records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lmms_causal.interventions.question import View

if TYPE_CHECKING:
    from torch import Tensor

    from lmms_causal.interventions.adapter import ModelAdapter
    from lmms_causal.interventions.attention.coordinates import Coordinates
    from lmms_causal.interventions.attention.edits import AttentionEdit
    from lmms_causal.interventions.attention.layout import Layout
    from lmms_causal.interventions.edits.tokens import Token

__all__ = [
    "Branch",
    "Control",
    "Increment",
    "PositionEdit",
    "Probe",
    "ResidualEdit",
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
    attention: tuple[AttentionEdit, ...] = ()
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
class Probe:
    """A pass made once, before the factual one, to see what another prompt leaves behind.

    The model is not edited in it.

    Attributes:
        name: by which edits refer to it.
        tokens: gives the other prompt; None for the prompt itself.
        media: replaces the prompt's picture or video tensors.
        layers: decoder layers whose outputs are kept, at all tokens; None for none.
        heads: whether the outputs of all heads are kept, at the prompt's last token.
        outputs: decoder layers of which the outputs of all heads are kept, at all tokens; None for
            none. What edits read is then these.
        vision: blocks of the vision encoder whose attention to each patch of the prompt's own
            pictures is kept, see :func:`~.edits.vision.received`; None for none.
    """

    name: str
    tokens: TokenEdit | None = None
    media: MediaEdit | None = None
    layers: Layers | None = None
    heads: bool = False
    outputs: Layers | None = None
    vision: Layers | None = None

    @property
    def reads(self) -> bool:
        """Whether the decoder has to be run."""
        return self.heads or self.layers is not None or self.outputs is not None


@dataclass(frozen=True)
class ResidualEdit:
    """A change of the residual stream of the factual pass.

    Attributes:
        method: the name of the method.
        layers: decoder layers.
        function: ``(states [R, q, D], coordinates) -> [R, q, D]``. Coordinates hold, if the edit
            names a probe, that probe's states ``[R, L', D]``.
        at: whether what enters a layer is changed, or what leaves it.
        probe: the name of the plan's probe that the function reads.
        counts_tokens: whether a text that is scored must say where its answer begins.
    """

    method: str
    layers: Layers
    function: Callable[[Tensor, Coordinates], Tensor]
    at: Literal["input", "output"] = "output"
    probe: str | None = None
    counts_tokens: bool = False


@dataclass(frozen=True)
class PositionEdit:
    """Other position ids, of the factual pass and of all branches.

    Attributes:
        method: the name of the method.
        function: ``(layout, positions [R, N]) -> [R, N]`` of all columns so far.
    """

    method: str
    function: Callable[[Layout, Tensor], Tensor]
