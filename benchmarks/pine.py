"""What PINE costs: its operator, and a model under it, against ordinary attention.

The operator (``lmms_causal.kernels.segments``) turns the query once for each segment. Beside it
stand torch's own attention on the same tensors and PINE with every key rotated anew
(``rerotated_keys.py``). The model is a random Llama of 0.3 billion parameters, whose layers have
the operator's shapes; the quick run leaves out most of its layers, which are all alike. A prompt is
a prefix of 32 tokens, segments of equal length, and 64 tokens after.

Times are of the processor, on one thread, so that other work on the machine does not count; ratios
are medians over runs taken in turn. Peak memory is of tensors made during the call; the model's is
given with its weights and without. Correctness is checked first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import transformers as tr
from reporting import Measured, median_ratio, parser, peak_bytes, report
from rerotated_keys import Row, by_rerotated_keys
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.interventions import apply
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.kernels.rotation import Rotation
from lmms_causal.kernels.segments import SegmentLayout, segment_attention, unrotated_keys

HEADS, SHARED, WIDTH = 16, 4, 64
PREFIX, AFTER = 32, 64
STEPS = 8


def segments_of(n: int, count: int) -> list[tuple[int, int]]:
    """Columns of so many segments in a prompt of ``n`` tokens."""
    room = n - PREFIX - AFTER
    return list(pairwise(PREFIX + round(step * room / count) for step in range(count + 1)))


def draw(n: int, count: int, dtype: torch.dtype, order: tuple[int, ...] = ()) -> Row:
    """Draw a row; ``order`` permutes its segments, which are then of equal length."""
    generator = torch.Generator().manual_seed(n)
    drawn = [torch.randn(h, n, WIDTH, generator=generator) for h in (HEADS, SHARED, SHARED)]
    columns = permuted(n, count, order)
    return Row(
        *(x[:, columns].to(dtype) for x in drawn),
        layout=SegmentLayout.of([segments_of(n, count)], n),
        positions=torch.arange(n),
        rotation=Rotation(10000.0 ** (-torch.arange(WIDTH // 2) / (WIDTH // 2))),
    )


def permuted(n: int, count: int, order: tuple[int, ...]) -> list[int]:
    """Columns of a prompt with its segments in another order."""
    spans = segments_of(n, count)
    inner = [column for c in order or range(count) for column in range(*spans[c])]
    return [*range(PREFIX), *inner, *range(n - AFTER, n)]


def plain(row: Row, first: int) -> Tensor:
    """Ordinary attention from the columns from ``first`` on."""
    q, k, v = (x[None] for x in (row.q[:, first:], row.k, row.v))
    causal = q.shape[2] > 1
    return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)[0]


def ours(row: Row, first: int, unrotated: Tensor | None = None) -> Tensor:
    """PINE by turned queries."""
    return segment_attention(
        row.q[:, first:],
        row.k,
        row.v,
        layout=row.layout,
        positions=row.positions,
        rotation=row.rotation,
        scale=row.scale,
        first_query=first,
        unrotated=unrotated,
    )


def check() -> None:
    """The operator agrees with re-rotated keys, and the order of segments has no effect."""
    n, order = 512, (2, 0, 3, 1)
    row = draw(n, 4, torch.float32)
    result = ours(row, 0)
    gap = (result - by_rerotated_keys(row, 0)).abs().max()
    assert gap < 1e-4, f"differs by {gap} from re-rotated keys"
    step = ours(row, n - 1, unrotated_keys(row.k, row.layout, row.positions, row.rotation))
    assert (step - result[:, -1:]).abs().max() < 1e-5, "a step differs from the whole"
    gap = (ours(draw(n, 4, torch.float32, order), 0) - result)[:, -AFTER:].abs().max()
    assert gap < 1e-5, f"the order of the segments changes the output by {gap}"
    model, ids = llama(2), tokens(n)
    with apply(model, "pine") as handle, handle.request(parts=[parts_of(n, 4)]):
        logits = [model(input_ids=x).logits[:, -1] for x in (ids, ids[:, permuted(n, 4, order)])]
    gap = (logits[0] - logits[1]).abs().max()
    assert gap < 1e-4, f"the order of the segments changes the logits by {gap}"
    assert (model(input_ids=ids).logits[:, -1] - logits[0]).abs().max() > 1e-2, "PINE did not run"


def seconds(run: Callable[[], object], times: int = 1) -> float:
    """Processor time of a run."""
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def operator(
    n: int, segments: int, dtype: torch.dtype, repeats: int, naive: bool
) -> Iterator[Measured]:
    """Prefill of a prompt, and one step after it."""
    row = draw(n, segments, dtype)
    kept = unrotated_keys(row.k, row.layout, row.positions, row.rotation)
    label = f"{str(dtype).removeprefix('torch.')}, {n} tokens, {segments} segments"
    for phase, first, own in (("prefill", 0, None), ("step", n - 1, kept)):
        runs: dict[str, Callable[[], Tensor]] = {
            "plain": partial(plain, row, first),
            "pine": partial(ours, row, first, own),
        }
        if naive:
            runs["re-rotated keys"] = partial(by_rerotated_keys, row, first)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(repeats + 1):
            for name, run in runs.items():
                times = 20 if phase == "step" and name != "re-rotated keys" else 1
                spent = seconds(run, times)
                if turn:  # the first run warms up
                    taken[name].append(spent)
        for name, run in runs.items():
            title = f"{phase}, {label}: {name}"
            if name == "plain":
                yield Measured(title, 1e3 * statistics.median(taken[name]), "ms")
            else:
                yield Measured(title, median_ratio(taken[name], taken["plain"]), "x plain")
            yield Measured(f"{title}, peak", peak_bytes(run) / 1e6, "MB")


def llama(layers: int) -> Any:
    """A random Llama, 0.3 billion parameters with 24 layers."""
    torch.manual_seed(0)
    config = tr.LlamaConfig(
        vocab_size=32000,
        hidden_size=HEADS * WIDTH,
        intermediate_size=2816,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=SHARED,
        max_position_embeddings=16384,
        initializer_range=0.05,
    )
    return tr.LlamaForCausalLM(config).eval()


def tokens(n: int) -> Tensor:
    """A random prompt ``[1, n]``."""
    return torch.randint(3, 32000, (1, n), generator=torch.Generator().manual_seed(n))


def parts_of(n: int, segments: int) -> PromptParts:
    """Where a prompt's segments are."""
    return PromptParts(segments=(tuple(segments_of(n, segments)),))


class Stamps(tr.StoppingCriteria):
    """Notes the processor time after each token, and never stops."""

    def __init__(self) -> None:
        self.times = [time.process_time()]

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        """Note the time."""
        self.times.append(time.process_time())
        return torch.zeros(len(input_ids), dtype=torch.bool)


@contextmanager
def generation(
    model: Any, ids: Tensor, segments: int, spec: str
) -> Iterator[Callable[[], list[float]]]:
    """A run under a method: processor time of each token, the first of which reads the prompt."""

    def run() -> list[float]:
        stamps = Stamps()
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=1 + STEPS,
            min_new_tokens=1 + STEPS,
            do_sample=False,
            pad_token_id=0,
            stopping_criteria=tr.StoppingCriteriaList([stamps]),
        )
        return [after - before for before, after in pairwise(stamps.times)]

    parts = [parts_of(ids.shape[1], segments)]
    with apply(model, spec) as handle, handle.request(parts=parts):
        yield run


def in_a_model(
    n: int, segments: int, dtype: torch.dtype, layers: int, repeats: int
) -> Iterator[Measured]:
    """Prefill, a step, and peak memory of a generation."""
    model, ids = llama(layers).to(dtype), tokens(n)
    label = f"{str(dtype).removeprefix('torch.')}, {n} tokens, {segments} segments, {layers} layers"
    specs = ("pine", "none")
    taken: dict[str, list[list[float]]] = {spec: [] for spec in specs}
    held = []
    for _ in range(repeats):
        for spec in specs:
            with generation(model, ids, segments, spec) as run:
                taken[spec].append(run())
    for spec in specs:
        with generation(model, ids, segments, spec) as run:
            held.append(peak_bytes(run) / 1e6)
    goals = segments <= 4 and n == 2048
    for name, goal, of in (
        ("prefill", "<= 1.6", lambda times: times[0]),
        ("step", "<= 1.5", lambda times: statistics.median(times[1:])),
    ):
        ratio = median_ratio(*([of(times) for times in taken[spec]] for spec in specs))
        yield Measured(f"model {name}, {label}", ratio, "x plain", goal if goals else "")
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6
    yield Measured(f"model peak without weights, {label}", held[0] / held[1], "x plain")
    ratio = (weights + held[0]) / (weights + held[1])
    yield Measured(f"model peak, {label}", ratio, "x plain", "<= 1.3" if goals else "")


def main() -> int:
    """Check, measure, report."""
    given = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    records: list[Measured] = []
    half, single = torch.bfloat16, torch.float32
    with torch.inference_mode():
        check()
        if given.quick:
            for dtype, segments in ((half, 2), (half, 4), (half, 20), (single, 4)):
                records += operator(2048, segments, dtype, 3, naive=(dtype, segments) == (half, 4))
            records += in_a_model(2048, 4, half, layers=2, repeats=2)
            return report(records, given.json)
        for dtype in (half, single):
            for n in (512, 2048, 8192):
                for segments in (2, 4, 8, 20):
                    records += operator(n, segments, dtype, 3 if n == 8192 else 7, naive=n < 8192)
            for segments in (2, 4, 20):
                records += in_a_model(2048, segments, dtype, layers=24, repeats=3)
    return report(records, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
