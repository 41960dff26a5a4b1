"""Heads that authors published for models of theirs, as data.

``CALIBRATED``: the heads that improve a model when calibrated, found for ACT (arXiv 2406.15765) by
trying every head of layers 2 and later alone on 900 training examples a data set; from the lists in
the released code GATECH-EIC/ACT at a267af7. ``RETRIEVAL``: the heads of the highest mean score for
copying a needle (arXiv 2404.15574), recomputed by us, to two digits, from the score files of
nightdessert/Retrieval_Head at 3ac171a; the highest only, their files have all heads.
"""

from __future__ import annotations

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.attention.heads import Heads

__all__ = ["CALIBRATED", "RETRIEVAL", "calibrated_heads", "retrieval_scores"]

CALIBRATED = {
    "llama2-7b-chat/classification": (
        "2-30",
        """
        2:2,8,12,13,16,17,20,25 3:0,1,2,10,24,28 4:1,3,4,9,10,11,15,19,23,25,27,30
        5:0,1,3,8,9,12,13,14,19,22 6:1,11,13,15,17,18,20,21,22,25,28,31 7:7,8,18,24,25
        8:0,2,5,6,7,8,26 9:0,6,7,10,11,15,17,20,21,29 10:1,4,19,22,23,25,26,27,31
        11:6,8,10,12,14,15,17,18,21,26,27,28 12:0,4,6,11,21,24,25,27 13:1,4,9,21,25,26,27
        14:0,1,4,7,9,12,13,15,19,21,24 15:6,9,12,17,19,21,24,25,26 16:0,29
        17:0,15,19,24,29,30 18:7,12,22,23 19:2,15,16,21,30 20:1,2,5,9,10,15,20,27,29
        21:17,20,24,29 22:2,3,5,6,13,15,25 23:5,6,16 24:1,3,5,13,20 25:17,24 26:9,14,19,20
        27:2,29 29:2,14,15,25 30:2
        """,
    ),
    "llama2-7b-chat/multiple_choice": (
        "2-30",
        """
        2:8,13,17,20 3:1 4:23,27,30 5:0,1,9,10,13,17,27 6:1,11,22,31 8:2,6 9:0,7,10,15,20
        10:19,22,23,25,26 11:8,10,12,14,15,17,18,26 12:0,6,31 13:8,9,21,26 14:0,13,15
        15:12,21,24 16:31 17:24,30 18:7,17 19:30 20:15,29 21:20 22:2,6 24:18,20 26:6,14,19
        27:29 28:13 29:2,15 31:4,31
        """,
    ),
    "llama2-7b-chat/mt_bench": (
        "2-30",
        """
        2:8 3:1 5:1,13 6:11,31 8:2 9:0 10:23,25 11:8,10,12,14,26 12:31 13:8,9 14:15 15:21
        20:15 21:20 24:18 29:2 31:4
        """,
    ),
    "mistral-7b-instruct-v0.2/classification": (
        "2-31",
        """
        2:5,10 3:23 5:3 6:8,13 9:16,24 10:14 11:31 12:9 13:0,13,27 14:0,9
        """,
    ),
    "mistral-7b-instruct-v0.2/multiple_choice": (
        "2-31",
        """
        2:19 3:22 4:3,7,12,15,31 5:0,29 6:31 7:5,13,21,23,24,27 8:0,7,17,20,25,27,29
        9:7,19,23,29 10:24,26,28,31 11:5,11,23,27 12:9,12,13,14 13:4,22,26,30
        14:14,16,20,22,23,25 15:4,8,13,22 16:15,23,26,28 17:7,10,22 18:6,28,31 19:3,14,21
        20:1,7,21 21:9 22:13,23 23:2 24:8,9,19,28,30 25:4,6,17,22,28 26:22 27:2,9,14,22
        28:2,4,5,7,10,13,20 29:6,28,29 31:0,1,11,14,21,30
        """,
    ),
}
"""By model and tasks: the layers of the authors' evaluation, and heads as ``layer:head,head``."""

RETRIEVAL = {
    "llama-2-7b-80k": (
        "16-19:0.94 11-15:0.92 8-26:0.80 6-9:0.62 7-12:0.61 17-22:0.56 11-2:0.46 6-16:0.44 "
        "19-15:0.42 21-30:0.40"
    ),
    "llama-2-13b-64k": (
        "13-23:0.90 9-33:0.87 21-5:0.65 19-3:0.63 6-31:0.60 17-16:0.56 16-33:0.48 20-18:0.44"
    ),
    "Mistral-7B-v0.2": (
        "18-0:0.94 12-7:0.93 12-6:0.77 18-2:0.74 18-3:0.60 18-1:0.46 30-8:0.43 28-0:0.40"
    ),
    "Mixtral-8x7B": ("12-7:0.95 18-0:0.93 18-2:0.92 12-6:0.85 18-3:0.65 30-8:0.54 28-0:0.50"),
    "Yi-6B-200K": ("17-2:0.78 14-9:0.76 17-6:0.76 23-30:0.70 14-12:0.66 11-13:0.58"),
    "Qwen1.5-14B": ("12-2:1.00 14-12:1.00 23-16:0.92 23-18:0.89 20-7:0.79 14-28:0.79"),
    "Qwen1.5-14B-Chat": ("14-12:0.52 20-7:0.42 23-16:0.41 12-2:0.41 22-6:0.40"),
}
"""By model: ``layer-head:score``, the highest first."""


def calibrated_heads(name: str) -> tuple[str, Heads]:
    """Return the layers and the heads of one of ACT's lists.

    Raises:
        UserError: there is no such list.
    """
    if name not in CALIBRATED:
        raise UserError(
            f"intervention act: heads={name} is no list of the authors'"
            f"{nearest(name, CALIBRATED)}; there are {', '.join(CALIBRATED)}"
        )
    layers, text = CALIBRATED[name]
    table = {}
    for item in text.split():
        layer, _, heads = item.partition(":")
        table[int(layer)] = [int(head) for head in heads.split(",")]
    return layers, Heads.of_layers(table)


def retrieval_scores(name: str) -> dict[tuple[int, int], float]:
    """Return ``(layer, head)`` to mean score, of a model's highest heads.

    Raises:
        KeyError: there is no such list.
    """
    found = {}
    for item in RETRIEVAL[name].split():
        place, _, score = item.partition(":")
        layer, _, head = place.partition("-")
        found[int(layer), int(head)] = float(score)
    return found
