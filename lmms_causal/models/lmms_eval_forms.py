"""What lmms-eval hands over and what it takes back, in the forms that it knows."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.models.model_utils.gen_metrics import log_metrics

from lmms_causal.models.cost import Cost
from lmms_causal.models.generation import Generation

__all__ = ["LossPair", "report_cost", "result_of", "visual_part"]


class LossPair(tuple[float, bool]):
    """``(mean loss of a token, is greedy)``, in the form that survives lmms-eval 0.7.3.

    Its evaluator turns a plain pair into a string, which its own multiple-choice tasks then cannot
    read; inside a ``GenerationResult`` the pair arrives whole, and the response cache, which strips
    what it stores, finds the method it calls. Answers that come back *from* that cache are text:
    our tasks read both.
    """

    def strip(self) -> LossPair:
        """Return the pair itself."""
        return self


def report_cost(cost: Cost) -> None:
    """Hand the totals to lmms-eval's throughput report, where extra numbers appear as ``avg_*``."""
    summary = cost.summary()
    log_metrics(
        total_elapsed_time=cost.seconds,
        total_gen_tokens=cost.generated_tokens,
        avg_speed=cost.generated_tokens / cost.seconds if cost.seconds else 0.0,
        additional_metrics={
            "requests": cost.requests,
            "forward_passes": cost.forward_passes,
            "forward_passes_per_request": cost.forward_passes / max(1, cost.requests),
            "prompt_tokens": cost.prompt_tokens,
            "peak_memory_mb": summary["peak_memory_bytes"] / 2**20,
        },
    )


def visual_part(visual: Any) -> dict[str, Any]:
    """What ``doc_to_visual`` lists as a message part, told apart as lmms-eval does for chat.

    A picture or a picture's path; a video's path, its frames, or a mapping with its address and the
    seconds to show; audio, which the encoder refuses by name.
    """
    if isinstance(visual, Mapping):
        kind = str(visual.get("type", "video"))
        spans = {f"{end}_time": visual.get(f"video_{end}") for end in ("start", "end")}
        return {"type": kind, "url": visual.get("url") or visual.get("path") or visual, **spans}
    if isinstance(visual, str):
        kind = (mimetypes.guess_type(visual)[0] or "video").partition("/")[0]
        return {"type": kind if kind in ("image", "audio") else "video", "url": visual}
    return {"type": "video" if isinstance(visual, (list, tuple)) else "image", "url": visual}


def result_of(answer: Generation) -> GenerationResult:
    """Return an answer with its token counts."""
    counts = TokenCounts(input_tokens=answer.prompt_tokens, output_tokens=answer.generated_tokens)
    return GenerationResult(text=answer.text, token_counts=counts)
