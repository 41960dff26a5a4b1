"""The meaning of a list of edits, one number at a time, and random attention calls to try it on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import masking_utils
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from lmms_causal.interventions.attention import backend, compiled
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Part
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Calibrate,
    Close,
    Gain,
    HeadReplace,
    HeadScale,
    Open,
    Replace,
    Scale,
    Uniform,
)
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.attention.sight import Sight, seen

ROWS, HEADS, KEY_HEADS, WIDTH = 2, 4, 2, 3
LAYER = 1


def sharpened(weights: Tensor, allowed: Tensor, where: Any) -> Tensor:
    """The function of :class:`Replace` in these tests: squares, made to sum to 1."""
    return weights**2 / (weights**2).sum(dim=-1, keepdim=True).clamp(min=1e-30)


class Module(nn.Module):
    """What an attention function reads of its module."""

    is_causal = True
    num_key_value_groups = HEADS // KEY_HEADS


@dataclass
class Attention:
    """Random queries, keys and values ``[R, H, N, d]`` in float64, and what their columns are."""

    query: Tensor
    key: Tensor
    value: Tensor
    layout: Layout
    window: int | None
    softcap: float | None

    @classmethod
    def drawn(cls, seed: int) -> Attention:
        """Two rows of system text, a picture, words, a tail and an answer, one padded or none."""
        draw = random.Random(seed)
        torch.manual_seed(seed)
        answer = draw.randint(0, 3)
        padding = [draw.choice([0, 0, 2]), draw.choice([0, 3])]
        roles = []
        for pads in padding:
            prompt = [Role.SYSTEM] * 2 + [Role.IMAGE] * 2 + [Role.TURN] * 2 + [Role.TAIL]
            prompt += [Role.TAIL] * (max(padding) - pads)
            roles.append([Role.PADDING] * pads + prompt + [Role.GENERATED] * answer)
        kept = torch.tensor(roles, dtype=torch.int8)
        count = kept.shape[1]
        made = (torch.randn(ROWS, heads, count, WIDTH).double() for heads in (HEADS, 2, 2))
        query, key, value = made
        window = draw.choice([None, None, 4])
        softcap = draw.choice([None, None, None, 2.0])
        layout = Layout(kept, torch.zeros_like(kept, dtype=torch.int32))
        return cls(2 * query, key, value, layout, window, softcap)

    @property
    def count(self) -> int:
        return self.layout.width

    @property
    def padding(self) -> Tensor:
        return self.layout.real.long().argmax(dim=1)

    def sees(self, row: int, query: int, key: int) -> bool:
        """What the model lets a query see."""
        near = self.window is None or query - key < self.window
        return key <= query and near and bool(self.layout.real[row, key])

    def mask(self, queries: range, keys: range, fused: bool) -> Tensor | None:
        """The mask as transformers hands it to ``sdpa`` or to ``eager``."""
        if fused and self.window is None and not self.padding.any() and queries.start == 0:
            return None
        seen = torch.tensor(
            [[[self.sees(r, i, j) for j in keys] for i in queries] for r in range(ROWS)]
        )[:, None]
        added = torch.zeros_like(seen, dtype=torch.float64)
        return seen if fused else added.masked_fill(~seen, torch.finfo(torch.float64).min)

    def sight(self, queries: range, keys: range) -> Sight:
        """The mask as our kernels are told it."""
        function = masking_utils.causal_mask_function
        if self.window is not None:
            function = masking_utils.sliding_window_causal_mask_function(self.window)
        found = seen(masking_utils.sdpa_mask)(
            batch_size=ROWS,
            q_length=len(queries),
            kv_length=len(keys),
            q_offset=queries.start,
            kv_offset=keys.start,
            mask_function=function,
            attention_mask=self.layout.real[:, : queries.stop],
        )
        assert isinstance(found, Sight)
        return found

    def call(self, queries: range, keys: range, fused: bool, kernels: bool = False) -> Call:
        """The call of some queries, given some keys."""
        options: dict[str, Any] = {"scaling": WIDTH**-0.5}
        if self.softcap is not None:
            options["softcap"] = self.softcap
        original: Any = sdpa_attention_forward if fused else eager_attention_forward
        mask: Any = self.sight(queries, keys) if kernels else self.mask(queries, keys, fused)
        return Call(
            Module().eval(),
            self.query[:, :, list(queries)],
            self.key[:, :, list(keys)],
            self.value[:, :, list(keys)],
            mask,
            options,
            backend.attend if kernels else original,
            fused,
        )

    def part(self, edits: Sequence[AttentionEdit], end: int, memory: dict[Any, Any]) -> Part:
        """What the pass that ends at a column is edited with."""
        layout = Layout(self.layout.roles[:, :end], self.layout.segments[:, :end])
        rows = slice(0, ROWS)
        return Part(rows, {LAYER: edits}, self.padding, end, (1, 2), layout, memory=memory)

    def whole(
        self, edits: Sequence[AttentionEdit], *, fused: bool = True, kernels: bool = False
    ) -> Tensor:
        """Outputs ``[R, N, H, d]`` of one pass over all columns."""
        everything = range(self.count)
        return compiled.attend(
            self.call(everything, everything, fused, kernels),
            self.part(edits, self.count, {}),
            LAYER,
        )

    def stepwise(
        self, edits: Sequence[AttentionEdit], *, fused: bool = True, kernels: bool = False
    ) -> Tensor:
        """The same from a pass over the prompt and one a token, old keys forgotten."""
        prompt = self.layout.prompt_end
        passes = [range(prompt), *(range(i, i + 1) for i in range(prompt, self.count))]
        memory: dict[Any, Any] = {}
        found = []
        opens = any(isinstance(edit.operation, Open) for edit in edits)
        for queries in passes:
            forgets = self.window is not None and not opens and len(queries) == 1
            first = max(0, queries.stop - (self.window or 0)) if forgets else 0
            call = self.call(queries, range(first, queries.stop), fused, kernels)
            found.append(compiled.attend(call, self.part(edits, queries.stop, memory), LAYER))
        return torch.cat(found, dim=1)


@dataclass
class Definition:
    """The definition in ``edits.py``, written as loops over single numbers."""

    on: Attention
    edits: Sequence[AttentionEdit]
    _spans: dict[Any, list[list[bool]]] = field(default_factory=dict)
    _known_sinks: dict[Any, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._query, self._key, self._value, self._real = (
            it.tolist() for it in (self.on.query, self.on.key, self.on.value, self.on.layout.real)
        )

    def output(self, row: int, head: int, query: int) -> list[float]:
        """What one head puts out at one query."""
        weights = self.weights(row, head, query, self.edits)
        value = self._value[row][head // (HEADS // KEY_HEADS)]
        found = [sum(w * v[d] for w, v in zip(weights, value, strict=True)) for d in range(WIDTH)]
        for edit in self.edits:
            if self._meant(edit, row, head, query):
                match edit.operation:
                    case HeadScale(factor):
                        found = [factor * it for it in found]
                    case HeadReplace(values):
                        found = values(None)[0, 0, head].tolist()
        return found

    def weights(
        self, row: int, head: int, query: int, edits: Sequence[AttentionEdit]
    ) -> list[float]:
        """The weights of one query, by column."""
        on = self.on

        def region(edit: AttentionEdit, key: int) -> bool:
            return self._meant(edit, row, head, query) and self._in(edit.where.keys, row, key)

        seen = self.seen(row, head, query, edits)
        q = self._query[row][head][query]
        products = [
            sum(a * b for a, b in zip(q, k, strict=True))
            for k in self._key[row][head // (HEADS // KEY_HEADS)]
        ]
        scores = [it / math.sqrt(WIDTH) for it in products]
        if on.softcap is not None:
            scores = [on.softcap * math.tanh(s / on.softcap) for s in scores]
        for edit in edits:
            match edit.operation:
                case Bias(amount):
                    b = amount(LAYER) if callable(amount) else amount
                    scores = [s + b * region(edit, j) for j, s in enumerate(scores)]
                case Gain(alpha):
                    scores = [s + alpha * abs(s) * region(edit, j) for j, s in enumerate(scores)]
        powers = [math.exp(s) if may else 0.0 for s, may in zip(scores, seen, strict=True)]
        a = _normal(powers, [0.0] * len(powers))
        for index, edit in enumerate(edits):
            match edit.operation:
                case Scale(factor, renormalise):
                    scaled = [factor * w if region(edit, j) else w for j, w in enumerate(a)]
                    a = _normal(scaled, a) if renormalise else scaled
                    continue
                case Uniform():
                    new = _normal([float(may) for may in seen], [0.0] * len(a))
                case Replace():
                    new = _normal([w * w for w in a], [0.0] * len(a))
                case Calibrate(beta):
                    new = _calibrated(a, self._sinks(row, head, edits, index), beta)
                case _:
                    continue
            a = [n if region(edit, j) else w for j, (n, w) in enumerate(zip(new, a, strict=True))]
        return a

    def seen(self, row: int, head: int, query: int, edits: Sequence[AttentionEdit]) -> list[bool]:
        """``(model or any Open) and not any Close``; no padding, no answer ahead."""
        may = []
        for key in range(self.on.count):
            visible = self.on.sees(row, query, key)
            closed = False
            for edit in edits:
                if not isinstance(edit.operation, (Open, Close)):
                    continue
                meant = self._meant(edit, row, head, query) and self._in(edit.where.keys, row, key)
                if edit.operation.pairs is not None:
                    one = (torch.tensor([query]), torch.tensor([key]))
                    pair = edit.operation.pairs(self.on.layout, *one)
                    meant = meant and bool(pair[row if len(pair) > 1 else 0, 0, 0])
                if meant and isinstance(edit.operation, Close):
                    closed = True
                elif meant:
                    layout = self.on.layout
                    ahead = bool(layout.generated[row, key]) and key > query
                    visible = visible or (bool(layout.real[row, key]) and not ahead)
            may.append(visible and not closed)
        return may

    def _sinks(self, row: int, head: int, edits: Sequence[AttentionEdit], index: int) -> set[int]:
        if (row, head, index) in self._known_sinks:
            return self._known_sinks[row, head, index]
        rule = edits[index].operation
        assert isinstance(rule, Calibrate)
        earlier = (Open, Close, Bias, Gain)
        before = [
            it
            for place, it in enumerate(edits)
            if place < index or isinstance(it.operation, earlier)
        ]
        prompt = [i for i in range(self.on.layout.prompt_end) if self._real[row][i]]
        rows = {i: self.weights(row, head, i, before) for i in prompt}
        seen = {i: self.seen(row, head, i, before) for i in prompt}
        bound = rule.over_length / len(prompt) if rule.threshold is None else rule.threshold
        found = []
        for key in prompt:
            asking = [i for i in prompt if seen[i][key]]
            if sum(rows[i][key] for i in prompt) / max(1, len(asking)) > bound:
                found.append(key)
        spared = found[:1] if rule.first_found else prompt[:1]
        return self._known_sinks.setdefault((row, head, index), {*found} - {*spared})

    def _in(self, span: Any, row: int, column: int) -> bool:
        if span.kind == "all":
            return True
        if span not in self._spans:
            self._spans[span] = span.resolve(self.on.layout).tolist()
        return self._spans[span][row][column]

    def _meant(self, edit: AttentionEdit, row: int, head: int, query: int) -> bool:
        chosen = edit.where.heads.of(LAYER)
        heads = chosen is None or head in chosen
        return heads and self._in(edit.where.queries, row, query)


def _normal(numbers: list[float], otherwise: list[float]) -> list[float]:
    total = sum(numbers)
    return [it / total for it in numbers] if total > 0 else otherwise


def _calibrated(weights: list[float], sinks: set[int], beta: float) -> list[float]:
    mass = sum(w for j, w in enumerate(weights) if j in sinks)
    rest = sum(w for j, w in enumerate(weights) if j not in sinks)
    if rest == 0:
        return weights
    gain = 1 + (1 - beta) * mass / rest
    return [beta * w if j in sinks else gain * w for j, w in enumerate(weights)]


@pytest.fixture
def drawn() -> Any:
    """``drawn(seed)``: a random :class:`Attention`."""
    return Attention.drawn


@pytest.fixture
def definition() -> Any:
    """``definition(attention, edits)``: outputs ``[R, N, H, d]`` by loops."""

    def outputs(on: Attention, edits: Sequence[AttentionEdit]) -> Tensor:
        meaning = Definition(on, edits)
        return torch.tensor(
            [
                [[meaning.output(r, h, i) for h in range(HEADS)] for i in range(on.count)]
                for r in range(ROWS)
            ],
            dtype=torch.float64,
        )

    return outputs


@pytest.fixture
def sharpening() -> Any:
    """The function of :class:`Replace`."""
    return sharpened
