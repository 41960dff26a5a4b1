"""``attn_implementation="lmms_causal"``: the kernels of this package inside transformers' models.

:func:`register` makes the name known to transformers, with a function for attention and one for
masks. The mask is a :class:`~.sight.Sight`, so no tensor of all queries by all keys is made;
:func:`through_kernels` runs the content of each row, without its padding, so that a row of a
batch is computed as it would be alone. What is not causal attention of a decoder (vision towers,
masks that a model prepared itself, dropout, learned sinks, gradients) goes to transformers' own
functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lmms_causal.interventions.attention.mask_patterns import Moved
from lmms_causal.interventions.attention.sight import Sight, Stretch, dense, seen
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.edits import NO_EDITS, Edits
from lmms_causal.kernels.patterns import AttentionPattern, Causal, Region
from lmms_causal.kernels.patterns.window import SlidingWindow

__all__ = ["NAME", "Asked", "attend", "eager_attention", "register", "through_kernels"]

NAME = "lmms_causal"
"""The value of ``attn_implementation``."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of the kernels for some rows beside the model's own attention.

    Attributes:
        instead: a pattern that stands for *causal*; see :meth:`.mask_rules.Rule.pattern`.
        regions: where things are in the rows.
        opened: further pairs that are seen.
        closed: pairs that are not, opened or not.
    """

    instead: AttentionPattern | None = None
    regions: tuple[Region, ...] = ()
    opened: AttentionPattern | None = None
    closed: AttentionPattern | None = None


AskedOf = Callable[[Stretch], Asked]
_NOTHING = Asked()


def register() -> None:
    """Make :data:`NAME` known to transformers. Calling it again does nothing."""
    if NAME not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(NAME, attend)
        # without a mask function of the same name models would get no mask, and see padding
        AttentionMaskInterface.register(NAME, seen(sdpa_mask))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | Sight | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function.

    Args:
        module: the attention module.
        query: ``[B, H, q, d]``.
        key: ``[B, H_k, n, d]``, of all tokens that the cache keeps.
        value: ``[B, H_k, n, e]``.
        attention_mask: what the mask function of the same name returned, or what a model made.
        options: ``scaling``, ``softcap``, ``dropout`` and what else models pass.

    Returns:
        Outputs ``[B, q, H, e]``, and no weights.
    """
    if not isinstance(attention_mask, Sight) or _must_delegate(module, query, key, options):
        return _delegated(module, query, key, value, dense(attention_mask), options)
    output = through_kernels(
        query,
        key,
        value,
        attention_mask,
        scale=options.get("scaling"),
        softcap=options.get("softcap"),
    )
    return output, None


def through_kernels(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sight: Sight,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    asked: AskedOf | None = None,
    edits: Edits = NO_EDITS,
) -> Tensor:
    """Attend to what a sight shows, the content of each row by itself.

    Args:
        query: ``[B, H, q, d]``.
        key: ``[B, H_k, n, d]``.
        value: ``[B, H_k, n, e]``.
        sight: of these rows.
        scale: factor of the scores; ``d ** -0.5`` by default.
        softcap: bound of the scores.
        asked: patterns of rows beside the rule of the sight.
        edits: of all rows, queries and keys.

    Returns:
        ``[B, q, H, e]``; 0 for padding.
    """
    parts: list[tuple[slice, slice, Tensor]] = []
    for stretch in sight.stretches:
        first = max(stretch.start, sight.first_query)
        behind = min(stretch.stop, sight.end)
        if first >= behind:
            continue
        missing = max(0, sight.first_key - stretch.start)  # content that the cache has forgotten
        rows = slice(*stretch.rows)
        columns = slice(first - sight.first_query, behind - sight.first_query)
        keys = slice(stretch.start + missing - sight.first_key, behind - sight.first_key)
        more = _NOTHING if asked is None else asked(stretch)
        pattern = sight.rule.pattern(behind - stretch.start, stretch.spans, more.instead)
        if more.opened is not None:
            pattern = pattern | more.opened
        if more.closed is not None:
            pattern = pattern - more.closed
        if missing and not isinstance(pattern, (Causal, SlidingWindow)):
            pattern = Moved(pattern, missing)
        output = attention(
            query[rows, :, columns],
            key[rows, :, keys],
            value[rows, :, keys],
            pattern=pattern,
            edits=_part(edits, rows, columns, keys) if edits else edits,
            scale=scale,
            offset=first - stretch.start - missing,
            regions=more.regions,
            softcap=softcap,
        )
        parts.append((rows, columns, output.transpose(1, 2)))
    batch, heads, queries, _ = query.shape
    if len(parts) == 1 and parts[0][2].shape[:2] == (batch, queries):
        return parts[0][2]
    whole = query.new_zeros(batch, queries, heads, value.shape[-1])
    for rows, columns, output in parts:
        whole[rows, columns] = output
    return whole


def _part(edits: Edits, rows: slice, columns: slice, keys: slice) -> Edits:
    """Edits of some rows, queries and keys."""
    some = edits.of_rows(rows)
    return replace(
        some,
        terms=tuple(
            replace(
                term,
                keys=term.keys[..., keys],
                rows=None if term.rows is None else term.rows[..., columns],
            )
            for term in some.terms
        ),
    )


def _must_delegate(module: nn.Module, query: Tensor, key: Tensor, options: dict[str, Any]) -> bool:
    """Whether a call is none of those that the kernels are for."""
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
        return True
    if options.get("dropout") and module.training:
        return True
    return any(options.get(name) is not None for name in ("s_aux", "position_bias", "cache"))


def _delegated(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
) -> tuple[Tensor, None]:
    """By torch's kernel, or written out where that lacks what the model asks for."""
    if options.get("softcap") is None and options.get("s_aux") is None:
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        return output, None
    if mask is None and query.shape[2] > 1 and getattr(module, "is_causal", True):
        mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool)
        mask = mask.tril(key.shape[2] - query.shape[2])[None, None]
    if mask is not None and mask.dtype == torch.bool:
        closed = torch.finfo(query.dtype).min
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, closed)
    return eager_attention(module)(module, query, key, value, mask, **options)[0], None


def eager_attention(module: nn.Module) -> Callable[..., Any]:
    """The explicit attention function of a module's own file, where transformers looks for it."""
    found: Callable[..., Any] = sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[attr-defined]
    return found
