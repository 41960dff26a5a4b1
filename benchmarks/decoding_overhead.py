"""What each method costs a token: time and memory relative to plain decoding, at batch 1 and 8.

Beside every method with further branches stands the naive way, written as the releases do it: for
each branch a forward pass and a cache of its own. Runs on the bundled model, on a wide random
LLaVA, whose decoding is bound by reading its weights as a real model's is, and on a real language
model where ``--model`` names one. Time per token is the time of a long generation less that of one
token, over the tokens between: prompts are left out.

The goals are set in bfloat16, the type that checkpoints come in. In float32 the figures are
reported without a goal: there, torch's matrix product of two rows takes up to twice as long as that
of one on some processors, whatever the method (``linear, 2 rows / 1``), which no engine can mend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import transformers as tr
from PIL import Image
from reporting import Measured, median_ratio, parser, peak_bytes, report

from lmms_causal import tiny_llava
from lmms_causal.interventions import apply

PROMPT = "USER: <image>\nis there a banana in the image ? ASSISTANT:"
WORDS = "The wind opened the window, and then the glass fell from the table because"
VISUAL = (
    "vcd(beta=0)",
    "m3id(alpha=1)",
    "cfg",
    "pai(alpha=0)",
    "icd",
    "causalmm(modality=language)",
    "causalmm(modality=both)",
    "vista",
    "dola",
    "temperature(value=0.5)",
)
TEXTUAL = ("cfg(negative=prompt)", "causalmm(modality=language)", "dola", "temperature(value=0.5)")
TWO_BRANCH = ("vcd", "m3id", "cfg", "pai", "icd")


@dataclass(frozen=True)
class Subject:
    """A model with a prompt.

    Attributes:
        name: for the report.
        model, processor: as loaded.
        prompt: ``prompt(rows)`` gives the model inputs of so many rows.
        specs: methods that apply.
        goal: whether the goals of two-branch methods are set for it.
    """

    name: str
    model: Any
    processor: Any
    prompt: Callable[[int], dict[str, Any]]
    specs: tuple[str, ...]
    goal: bool


def picture(seed: int, side: int) -> Image.Image:
    """Noise, the same for the same seed."""
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    )


def bundled() -> Subject:
    """The bundled model: 1.5 million parameters, where Python's own time is what counts."""
    model = tr.AutoModelForImageTextToText.from_pretrained(tiny_llava.path()).eval()
    return _llava("bundled", model, goal=False)


def wide() -> Subject:
    """The bundled architecture with a decoder of 0.2 billion random parameters."""
    config = tr.AutoConfig.from_pretrained(tiny_llava.path())
    text = config.text_config
    text.hidden_size, text.intermediate_size = 1024, 2816
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 16, 8, 64
    text.num_hidden_layers = 16
    torch.manual_seed(0)
    return _llava("wide", tr.LlavaForConditionalGeneration(config).eval(), goal=True)


def _llava(name: str, model: Any, goal: bool) -> Subject:
    processor = tr.AutoProcessor.from_pretrained(tiny_llava.path())

    def prompt(rows: int) -> dict[str, Any]:
        images = [picture(row, 48) for row in range(rows)]
        inputs = dict(processor(images=images, text=[PROMPT] * rows, return_tensors="pt"))
        return {**inputs, "pixel_values": inputs["pixel_values"].to(model.dtype)}

    return Subject(name, model, processor, prompt, VISUAL, goal)


def language(folder: str) -> Subject:
    """A real language model from a local folder."""
    model = tr.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = tr.AutoTokenizer.from_pretrained(folder)

    def prompt(rows: int) -> dict[str, Any]:
        return dict(tokenizer([WORDS] * rows, return_tensors="pt"))

    return Subject(
        f"{folder.rstrip('/').rpartition('/')[2]}", model, tokenizer, prompt, TEXTUAL, True
    )


@torch.inference_mode()
def two_passes(subject: Subject, inputs: dict[str, Any], tokens: int, branches: int) -> None:
    """Greedy contrastive decoding as the releases write it, a pass and a cache for each branch."""
    model = subject.model
    caches = [tr.DynamicCache(config=model.config.get_text_config()) for _ in range(1 + branches)]
    given: dict[str, Any] = inputs
    for _ in range(tokens):
        logits = [
            model(**given, past_key_values=cache, use_cache=True).logits[:, -1].float()
            for cache in caches
        ]
        contrasted = logits[0] + sum(logits[0] - other for other in logits[1:])
        given = {"input_ids": torch.as_tensor(contrasted).argmax(-1, keepdim=True)}


@contextmanager
def clock() -> Iterator[list[float]]:
    """Seconds of the block."""
    spent: list[float] = []
    start = time.perf_counter()
    yield spent
    spent.append(time.perf_counter() - start)


def seconds(
    subject: Subject, spec: str, inputs: dict[str, Any], tokens: int, execution: Any = "auto"
) -> float:
    """Time of a token under a method, after the first one."""
    with apply(subject.model, spec, subject.processor, execution=execution):
        return _slope(lambda count: generate(subject, inputs, count), tokens)


def _slope(run: Callable[[int], Any], tokens: int) -> float:
    """Seconds of a token: of ``1 + tokens`` less that of 1, over their number."""
    with clock() as first:
        run(1)
    with clock() as all_:
        run(1 + tokens)
    return (all_[0] - first[0]) / tokens


def generate(subject: Subject, inputs: dict[str, Any], tokens: int) -> torch.Tensor:
    """Greedy tokens."""
    result: torch.Tensor = subject.model.generate(
        **inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
    )
    return result


def peak(subject: Subject, spec: str, inputs: dict[str, Any], tokens: int) -> float:
    """Largest number of bytes in live tensors beyond the model during one generation."""
    with apply(subject.model, spec, subject.processor):
        return peak_bytes(lambda: generate(subject, inputs, tokens))


def check(subject: Subject, inputs: dict[str, Any]) -> None:
    """Off is absent, and one batch answers as separate passes do."""
    plain = generate(subject, inputs, 8)
    with apply(subject.model, "none"):
        assert torch.equal(generate(subject, inputs, 8), plain), "off changes the answer"
    for spec in subject.specs:
        answers = []
        for execution in ("stacked", "paired"):
            with apply(subject.model, spec, subject.processor, execution=execution):
                answers.append(generate(subject, inputs, 8))
        assert torch.equal(*answers), f"{spec}: stacked and paired answers differ"
    assert torch.equal(generate(subject, inputs, 8), plain), "something is left behind"


def measure(
    subject: Subject, rows: int, tokens: int, repeats: int, *, paired: bool = True
) -> list[Measured]:
    """Ratios to plain decoding, each the median over pairs run in turn."""
    inputs = subject.prompt(rows)
    label = f"{subject.name}, batch {rows}"
    seconds(subject, "none", inputs, tokens)

    def against_plain(run: Callable[[], float], times: int = 1) -> float:
        pairs = []
        for turn in range(repeats * times):
            if turn % 2:  # whichever is first meets the colder cache
                ours, plain = run(), seconds(subject, "none", inputs, tokens)
            else:
                plain, ours = seconds(subject, "none", inputs, tokens), run()
            pairs.append((ours, plain))
        return median_ratio([a for a, _ in pairs], [b for _, b in pairs])

    def naive() -> float:
        return _slope(lambda count: two_passes(subject, inputs, count, 1), tokens)

    records = [
        Measured(
            f"{label}: empty plan",
            against_plain(lambda: seconds(subject, "re2", inputs, tokens), times=5),
            "x plain",
            "<= 1.01" if subject.goal and rows == 1 else "",
        ),
        Measured(f"{label}: naive two passes", against_plain(naive), "x plain"),
    ]
    for spec in subject.specs:
        ratio = against_plain(lambda spec=spec: seconds(subject, spec, inputs, tokens))
        two = spec.partition("(")[0] in TWO_BRANCH
        goal = "<= 1.35" if two and subject.goal and rows == 1 else ""
        records.append(Measured(f"{label}: {spec}", ratio, "x plain", goal))
        if paired and (two or "causalmm" in spec):
            with_pairs = against_plain(
                lambda spec=spec: seconds(subject, spec, inputs, tokens, "paired")
            )
            records.append(Measured(f"{label}: {spec}, paired", with_pairs, "x plain"))
    return records


def rows_of_linear(dtype: torch.dtype) -> Measured:
    """How much longer the matrix product of two rows takes than that of one."""
    weights = [torch.randn(2816, 1024, dtype=dtype) for _ in range(16)]  # more than a cache holds

    def spent(rows: int) -> float:
        row = torch.randn(rows, 1, 1024, dtype=dtype)
        with clock() as taken:
            for weight in weights:
                torch.nn.functional.linear(row, weight)
        return taken[0]

    pairs = [(spent(2), spent(1)) for _ in range(20)]
    ratio = median_ratio([a for a, _ in pairs], [b for _, b in pairs])
    return Measured(f"linear, 2 rows / 1, {dtype}".replace("torch.", ""), ratio, "x")


def memory(subject: Subject, tokens: int) -> list[Measured]:
    """Peak of live tensors relative to plain decoding, batch 1."""
    inputs = subject.prompt(1)
    plain = peak(subject, "none", inputs, tokens)
    return [
        Measured(
            f"{subject.name}, memory: {spec}", peak(subject, spec, inputs, tokens) / plain, "x"
        )
        for spec in subject.specs
    ]


def main() -> int:
    """Check, measure, report."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", metavar="FOLDER", help="a real language model as well")
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    subjects = [bundled(), wide(), *([language(given.model)] if given.model else [])]
    types = (torch.float32, torch.bfloat16)
    records = [rows_of_linear(dtype) for dtype in types]
    for subject in subjects:
        small = not subject.goal
        check(subject, subject.prompt(2))
        tokens = 32 if small or not given.quick else 6
        repeats = 5 if small or not given.quick else 3
        for dtype in types[:1] if small else types[::-1][: 1 if given.quick else 2]:
            subject.model.to(dtype)
            named = replace(
                subject,
                name=f"{subject.name} {dtype}".replace("torch.", ""),
                goal=dtype is torch.bfloat16,
            )
            for rows in (1,) if given.quick else (1, 8):
                records += measure(named, rows, tokens, repeats, paired=not given.quick)
        records += memory(named, 8)
    return report(records, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
