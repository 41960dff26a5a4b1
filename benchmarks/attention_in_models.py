"""What ``attn_implementation="lmms_causal"`` changes end to end: a long prompt, then an answer.

A prompt of 4,096 tokens is read and 64 tokens are decoded greedily, by ``sdpa`` and by
``lmms_causal`` in turns, in float32 and bfloat16. In float32 both must give the same tokens. Ratios
are of processor time, paired run by run, medians of the runs; below 1 ours is faster. With
``sparse(pattern=...)`` on top, what patterns save against plain ``sdpa``. ``call`` is the time that
one call of the attention function takes in Python, for a step so small that nothing is computed.

Runs on a random Llama, and on a real model where ``--model`` names a folder. A model spends most of
a step outside attention: what the kernels do by themselves is in ``attention.py``.
"""

from __future__ import annotations

import inspect
import time
import typing
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as tr
from reporting import Measured, median_ratio, parser, report
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import lmms_causal.attention_backend
from lmms_causal.interventions import apply
from lmms_causal.interventions.attention.backend import attend
from lmms_causal.interventions.attention.mask_rules import Rule
from lmms_causal.interventions.attention.sight import Sight, Stretch

OURS = lmms_causal.attention_backend.NAME
PATTERNS = ("window[256/sink=4]", "power[block=64]", "s2[block=64/local=4]")


@dataclass
class Times:
    """Processor seconds of the runs of one way."""

    prefill: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    tokens: Tensor | None = None


def random_llama() -> Any:
    """A decoder of 4 layers in which attention to a long prompt is much of the work."""
    torch.manual_seed(0)
    config = tr.LlamaConfig(
        vocab_size=2048,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=16384,
        initializer_range=0.06,
    )
    return tr.LlamaForCausalLM(config).eval()


def words(folder: Path, length: int) -> Tensor:
    """Tokens ``[1, length]`` of a text that is not repeated: a module of Python."""
    tokenizer = tr.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(inspect.getsource(typing), return_tensors="pt")["input_ids"]
    return ids[:, :length]


@torch.no_grad()
def run(model: Any, ids: Tensor, steps: int, times: Times) -> None:
    """Read a prompt and decode, adding to the times."""
    cache = tr.DynamicCache(config=model.config)
    start = time.process_time()
    output = model(input_ids=ids, past_key_values=cache, logits_to_keep=1)
    middle = time.process_time()
    made = [output.logits[:, -1:].argmax(-1)]
    for _ in range(steps - 1):
        output = model(input_ids=made[-1], past_key_values=cache)
        made.append(output.logits[:, -1:].argmax(-1))
    times.prefill.append(middle - start)
    times.decode.append(time.process_time() - middle)
    times.tokens = torch.cat(made, 1)


@torch.no_grad()
def generated(model: Any, ids: Tensor, steps: int, times: Times) -> None:
    """The same through ``generate``, as interventions need: a first token, then all."""
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False}
    start = time.process_time()
    model.generate(**arguments, max_new_tokens=1)
    middle = time.process_time()
    model.generate(**arguments, max_new_tokens=steps)
    times.prefill.append(middle - start)
    times.decode.append(time.process_time() - middle - (middle - start))


Way = Callable[[], AbstractContextManager[Any]]


def compared(
    model: Any,
    ids: Tensor,
    steps: int,
    repeats: int,
    ways: dict[str, tuple[str, Way]],
    measure: Callable[[Any, Tensor, int, Times], None],
) -> dict[str, Times]:
    """Run ways in turns: by name an implementation, and what is around its passes."""
    found = {name: Times() for name in ways}
    for repeat in range(repeats + 1):
        for name, (implementation, around) in ways.items():
            model.set_attn_implementation(implementation)
            times = Times() if repeat == 0 else found[name]  # the first run warms up
            with around():
                measure(model, ids, steps, times)
    return found


def of_model(name: str, model: Any, ids: Tensor, steps: int, quick: bool) -> list[Measured]:
    """All records of one model."""
    model.generation_config.eos_token_id = None
    records = []
    plain: dict[str, tuple[str, Way]] = {
        "sdpa": ("sdpa", nullcontext),
        OURS: (OURS, nullcontext),
    }
    for dtype in (torch.float32, torch.bfloat16):
        model = model.to(dtype)
        kind = f"{name}, {str(dtype).removeprefix('torch.')}"
        found = compared(model, ids, steps, 2 if quick else 5, plain, run)
        theirs, ours = found["sdpa"], found[OURS]
        if dtype == torch.float32:
            assert theirs.tokens is not None and ours.tokens is not None
            same = float((theirs.tokens == ours.tokens).float().mean())
            records.append(Measured(f"{kind}: same tokens", same, "share", ">= 1"))
        for part in ("prefill", "decode"):
            ratio = median_ratio(getattr(ours, part), getattr(theirs, part))
            records.append(Measured(f"{kind}: {part}", ratio, "x", "<= 1.0"))
        if quick:
            continue
        patterns: dict[str, tuple[str, Way]] = {"sdpa": ("sdpa", nullcontext)}
        for pattern in PATTERNS:
            spec = f"sparse(pattern={pattern})"
            patterns[pattern] = (OURS, partial(apply, model, spec))
        found = compared(model, ids, steps, 3, patterns, generated)
        for pattern in PATTERNS:
            for part in ("prefill", "decode"):
                ratio = median_ratio(getattr(found[pattern], part), getattr(found["sdpa"], part))
                records.append(Measured(f"{kind}: {part}, {pattern}", ratio, "x"))
    return records


@torch.no_grad()
def call_overhead() -> list[Measured]:
    """Microseconds of a decoding call on a cache of 32 keys, and of transformers' own function."""
    module = torch.nn.Module()
    module.is_causal = True  # type: ignore[assignment]
    q, k = torch.randn(1, 4, 1, 16), torch.randn(1, 4, 32, 16)
    sight = Sight(Rule(), (Stretch((0, 1), 0, 32),), 1, 32, 31, 0)
    found = []
    for name, function, mask in (
        ("call, lmms_causal", attend, sight),
        ("call, sdpa", sdpa_attention_forward, None),
    ):
        times = []
        for _ in range(7):
            start = time.process_time()
            for _ in range(1000):
                function(module, q, k, k, mask, scaling=0.25, dropout=0.0)
            times.append((time.process_time() - start) * 1e3)
        goal = "<= 50" if mask is not None else ""
        found.append(Measured(name, sorted(times)[len(times) // 2], "us", goal))
    return found


def main() -> int:
    """Run everything that was asked for."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, help="folder of a real language model")
    arguments.add_argument("--length", type=int, help="tokens of the prompt (4096; quick: 1024)")
    arguments.add_argument("--steps", type=int, help="tokens of the answer (64; quick: 16)")
    given = arguments.parse_args()
    length = given.length or (1024 if given.quick else 4096)
    steps = given.steps or (16 if given.quick else 64)
    records = call_overhead()
    torch.manual_seed(1)
    ids = torch.randint(0, 2048, (1, length))
    records += of_model("random", random_llama(), ids, steps, given.quick)
    if given.model:
        model = tr.AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
        records += of_model(given.model.name, model, words(given.model, length), steps, given.quick)
    return report(records, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
