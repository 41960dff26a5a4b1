"""Sets of query heads: the same in every layer (``0|3-5``) or by layer (``12.3|14.0-2``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["ALL_HEADS", "Heads", "parse_heads", "query_heads"]


@dataclass(frozen=True)
class Heads:
    """Query heads, counted from 0.

    Attributes:
        everywhere: heads meant in every layer; None, without ``by_layer``, for all.
        by_layer: ``(layer, head)`` pairs.
    """

    everywhere: frozenset[int] | None = None
    by_layer: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def of_layers(cls, heads: Mapping[int, Iterable[int]]) -> Heads:
        """Return the heads of a table by layer; other layers have none."""
        pairs = frozenset((layer, head) for layer, its in heads.items() for head in its)
        return cls(frozenset(), pairs)

    def of(self, layer: int) -> frozenset[int] | None:
        """Return the heads meant in a layer; None for all."""
        if self.everywhere is None:
            return None
        return self.everywhere | {head for at, head in self.by_layer if at == layer}

    def beyond(self, depth: int, count: int) -> str | None:
        """Return why the heads cannot be meant in ``depth`` layers of ``count`` heads, or None."""
        head = max(
            (self.everywhere or frozenset()) | {head for _, head in self.by_layer}, default=0
        )
        layer = max((layer for layer, _ in self.by_layer), default=0)
        if head >= count:
            return f"head {head} goes beyond its {count} query heads, which are counted from 0"
        if layer >= depth:
            return f"layer {layer} goes beyond its {depth} layers, which are counted from 0"
        return None

    def __str__(self) -> str:
        if self.everywhere is None:
            return "all"
        pairs = [f"{layer}.{head}" for layer, head in sorted(self.by_layer)]
        return "|".join([*map(str, sorted(self.everywhere)), *pairs])


ALL_HEADS = Heads()

_ITEM = re.compile(r"(?:(\d+)\.)?(\d+)(?:-(\d+))?")


def parse_heads(method: str, parameter: str, text: str) -> Heads:
    """Return the heads that a text names; ``all`` for all.

    They are joined by ``|`` in a spec, because harnesses split it at commas; elsewhere a comma
    serves as well.

    Raises:
        UserError: the text is not of this form.
    """
    if text.strip() == "all":
        return ALL_HEADS
    everywhere: set[int] = set()
    by_layer: set[tuple[int, int]] = set()
    for item in re.split("[|,]", text):
        match = _ITEM.fullmatch(item.strip())
        if match is None or int(match[2]) > int(match[3] or match[2]):
            raise UserError(
                f"intervention {method}: {parameter}={text} names heads as 0|3-5 (in every layer), "
                "as layer.head such as 12.3|14.0-2, or with all"
            )
        heads = range(int(match[2]), int(match[3] or match[2]) + 1)
        if match[1] is None:
            everywhere.update(heads)
        else:
            by_layer.update((int(match[1]), head) for head in heads)
    return Heads(frozenset(everywhere), frozenset(by_layer))


def query_heads(adapter: ModelAdapter) -> int:
    """Return the number of query heads of each of a model's decoder layers."""
    return int(adapter.model.config.get_text_config().num_attention_heads)
