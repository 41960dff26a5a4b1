"""What vcd costs on the bundled model: time of generation relative to the plain model.

Two passes per token are the method's price; the goal is that the engine adds little to them.
"""

from __future__ import annotations

import time

import torch
from PIL import Image
from reporting import Measured, median_ratio, parser, report
from transformers import AutoModelForImageTextToText, AutoProcessor

from lmms_causal import tiny_llava
from lmms_causal.interventions import apply

PROMPT = "USER: <image>\nis there a banana in the image ? ASSISTANT:"
SPEC = "vcd(alpha=1.0;beta=0.1)"


def main() -> int:
    """Check, measure, report."""
    given = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    model = AutoModelForImageTextToText.from_pretrained(tiny_llava.path()).eval()
    processor = AutoProcessor.from_pretrained(tiny_llava.path())
    generator = torch.Generator().manual_seed(0)
    pictures = [
        Image.fromarray(torch.randint(0, 256, (48, 48, 3), generator=generator).byte().numpy())
        for _ in range(32)
    ]
    inputs = processor(
        images=pictures, text=[PROMPT] * len(pictures), return_tensors="pt", padding=True
    )
    options = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False}

    def seconds(spec: str) -> float:
        with apply(model, spec):
            start = time.perf_counter()
            model.generate(**inputs, **options)
            return time.perf_counter() - start

    plain = model.generate(**inputs, **options)
    with apply(model, "none"):
        assert torch.equal(model.generate(**inputs, **options), plain), "off changes the answer"
    seconds(SPEC)  # warm-up
    repeats = 7 if given.quick else 25
    pairs = [(seconds(SPEC), seconds("none")) for _ in range(repeats)]
    ratio = median_ratio([a for a, _ in pairs], [b for _, b in pairs])
    return report([Measured("vcd / plain, seconds of generate", ratio, "x", "<= 2.5")], given.json)


if __name__ == "__main__":
    raise SystemExit(main())
