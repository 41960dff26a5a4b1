"""Peak memory and time of attention statistics, against reading the full matrix as eager does.

All statistics of ``lmms-causal attend`` for one decoder layer, in one pass over the rows, beside
the way analyses are usually written: take the matrix ``[H, N, N]`` that eager attention makes, and
compute from it. One layer is counted, although with ``output_attentions`` a model keeps the
matrices of all its layers until the end: the comparison is the least favourable to us. Peaks are of
live tensors beyond queries and keys.

The last rows are of a whole model: the command's default analyses of one text, the model's own pass
included, beside an eager pass that drops each layer's matrix, and one that returns them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import transformers as tr
from reporting import Measured, median_ratio, parser, peak_bytes, report
from torch import Tensor

from lmms_causal.attend.analyses import ANALYSES
from lmms_causal.attend.documents import Document
from lmms_causal.attend.findings import Settings
from lmms_causal.attend.reading import read
from lmms_causal.attend.subject import Subject
from lmms_causal.kernels.column_statistics import BlockMeans, ColumnMeans, FutureInfluence
from lmms_causal.kernels.statistics import Distances, LogSumExp, Masses, Strongest, collect
from lmms_causal.kernels.stream import Attention
from lmms_causal.models.prompts import Encoder
from lmms_causal.testing import build

WIDTH = 64
SEGMENTS = 5
SENTENCES = 40
WINDOW, LOW, HIGH = 10, 10, 50


def call(length: int, heads: int, groups: int, dtype: torch.dtype) -> Attention:
    """Random queries and keys of one layer."""
    generator = torch.Generator().manual_seed(length)
    query = torch.randn(1, heads, length, WIDTH, generator=generator)
    key = torch.randn(1, groups, length, WIDTH, generator=generator)
    return Attention(query.to(dtype), key.to(dtype))


def labels(length: int, count: int) -> Tensor:
    """``count`` blocks of about equal length, ``[1, N]``."""
    return (torch.arange(length) * count // length)[None]


def streamed(attention: Attention) -> dict[str, Tensor]:
    """Every statistic, in one pass."""
    length = attention.key.shape[2]
    segments, sentences = labels(length, SEGMENTS), labels(length, SENTENCES)
    return collect(
        attention,
        {
            "logsumexp": LogSumExp(),
            "masses": Masses(segments, SEGMENTS),
            "strongest": Strongest(),
            "distances": Distances([None, WINDOW]),
            "means": ColumnMeans(),
            "blocks": BlockMeans(sentences, sentences, (SENTENCES, SENTENCES)),
            "influence": FutureInfluence(LOW, HIGH),
        },
    )


def masses_only(attention: Attention) -> dict[str, Tensor]:
    """The masses of segments, the cheapest question one asks."""
    length = attention.key.shape[2]
    return collect(attention, {"masses": Masses(labels(length, SEGMENTS), SEGMENTS)})


def eager_weights(attention: Attention) -> Tensor:
    """The matrix as transformers' eager attention makes it: keys repeated, softmax in float32."""
    heads, length = attention.query.shape[1:3]
    key = attention.key.repeat_interleave(heads // attention.key.shape[1], dim=1)
    scores = torch.matmul(attention.query, key.transpose(2, 3)) * WIDTH**-0.5
    mask = torch.full((length, length), torch.finfo(scores.dtype).min, dtype=scores.dtype).triu(1)
    scores = scores + mask
    weights = torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32)
    return weights.to(attention.query.dtype)


def written_out(attention: Attention) -> dict[str, Tensor]:
    """The same statistics from the full matrix."""
    weights = eager_weights(attention).float()
    length = weights.shape[-1]
    places = torch.arange(length)
    gaps = (places[:, None] - places).abs()
    near = ((gaps >= LOW) & (gaps <= HIGH)).tril().float()
    one, other = (
        torch.nn.functional.one_hot(labels(length, count)[0]).float()
        for count in (SEGMENTS, SENTENCES)
    )
    pairs = other.sum(0)[:, None] * other.sum(0)
    distances = [(weights * gap).sum(-1) for gap in (gaps, gaps.clamp(max=WINDOW))]
    return {
        "masses": weights @ one,
        "strongest": weights.argmax(-1),
        "distances": torch.stack(distances, dim=-1),
        "means": weights.sum(2) / torch.arange(length, 0, -1),
        "blocks": other.T @ weights @ other / pairs,
        "influence": (weights * near).sum(2) / near.sum(0),
    }


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def check() -> None:
    """The two ways agree, at an odd length and with grouped heads."""
    attention = call(517, 4, 2, torch.float32)
    ours = streamed(attention)
    for name, expected in written_out(attention).items():
        found = ours[name]
        if name == "strongest":
            assert (found == expected).float().mean() > 0.999, name  # equals up to rounding
        else:
            torch.testing.assert_close(
                found, expected, atol=1e-4, rtol=1e-4, equal_nan=True, msg=name
            )


def memory(length: int, heads: int, groups: int, dtype: torch.dtype) -> list[Measured]:
    """Peaks, relative to that of eager attention's matrix of one layer."""
    attention = call(length, heads, groups, dtype)
    name = f"{length} tokens, {heads} heads, {dtype}".replace("torch.", "")
    full = peak_bytes(lambda: eager_weights(attention))
    goal = "<= 0.1" if length == 8192 else ""
    return [
        Measured(f"{name}: eager weights", full / 2**20, "MiB"),
        Measured(
            f"{name}: all statistics",
            peak_bytes(lambda: streamed(attention)) / full,
            "x eager",
            goal,
        ),
        Measured(
            f"{name}: masses", peak_bytes(lambda: masses_only(attention)) / full, "x eager", goal
        ),
    ]


def whole_model(length: int, quick: bool) -> list[Measured]:
    """Peaks of the command's analyses on a random language model, beyond its weights."""
    model, tokenizer = build("llama")
    text = model.config.to_dict() | {
        "hidden_size": 4 * WIDTH,
        "intermediate_size": 8 * WIDTH,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": WIDTH,
        "max_position_embeddings": 2 * length,
    }
    model = tr.LlamaForCausalLM(tr.LlamaConfig.from_dict(text)).eval()
    subject = Subject.of(model, Encoder(tokenizer))
    words = "The wind opened the window. The glass fell. Was it the cat? "
    each = len(tokenizer(words, add_special_tokens=False)["input_ids"])
    prompt, answer = words * (length // each + 1), words * (500 // each)
    trace = subject.trace(Document("long", prompt, response=answer))
    settings = Settings()
    analyses = {
        name: it
        for name, it in ANALYSES.items()
        if it.default and it.obstacle(subject, trace, settings) is None
    }
    wanted = {
        f"{name}/{key}": want
        for name, it in analyses.items()
        for key, want in it.wanted(subject, trace, settings).items()
    }
    ours = peak_bytes(lambda: read(subject, trace, wanted))
    spent = seconds(lambda: read(subject, trace, wanted))
    model.set_attn_implementation("eager")
    given = {**trace.inputs, "use_cache": False, "logits_to_keep": 1}
    dropped = peak_bytes(lambda: model(**given))
    took = seconds(lambda: model(**given))
    name = f"model, {trace.length} tokens: {', '.join(analyses)}"
    records = [
        Measured(f"{name}: peak", ours / dropped, "x eager", "<= 0.1"),
        Measured("the same: time", spent / took, "x eager"),
    ]
    if not quick:
        kept = peak_bytes(lambda: model(**given, output_attentions=True))
        records.append(
            Measured("the same, eager returns its weights: peak", ours / kept, "x eager")
        )
    return records


def times(length: int, heads: int, groups: int, repeats: int) -> list[Measured]:
    """Seconds relative to the statistics from the full matrix, and to eager attention alone."""
    attention = call(length, heads, groups, torch.float32)
    name = f"{length} tokens, {heads} heads: time of"
    ours, theirs, only, bare = [], [], [], []
    for _ in range(repeats):
        ours.append(seconds(lambda: streamed(attention)))
        theirs.append(seconds(lambda: written_out(attention)))
        only.append(seconds(lambda: masses_only(attention)))
        bare.append(seconds(lambda: eager_weights(attention)))
    return [
        Measured(f"{name} all statistics", median_ratio(ours, theirs), "x full"),
        Measured(f"{name} masses", median_ratio(only, bare), "x eager"),
    ]


def main() -> int:
    """Check, measure, report."""
    arguments = parser(__doc__)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    check()
    with torch.inference_mode():
        records = memory(8192, 4, 2, torch.float32)
        records += times(2048, 8, 2, 3 if given.quick else 7)
        records += whole_model(8192, given.quick)
        if not given.quick:
            records += memory(8192, 8, 2, torch.bfloat16)
            records += memory(2048, 32, 8, torch.float32)
            records += times(4096, 8, 2, 3)
    return report(records, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
