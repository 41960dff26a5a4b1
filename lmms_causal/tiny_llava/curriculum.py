"""The text the language model learns from: sequences of question turns about one picture.

Until the *prior* phase the model sees balanced scenes and auxiliary tasks in which the answer's
word directly follows the thing it belongs to (``grape purple , apple red``); without them the
binding of words to patches does not appear. In the prior phase the usual answer is right nine
times in ten and a tenth of the sequences has no picture, which is what makes the language prior
of the trained model strong and its picture-free logits equal to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmms_causal.tasks.causal_vqa_mini.draws import Draws
from lmms_causal.tasks.causal_vqa_mini.scenes import (
    caption,
    colour_question,
    draw_pair,
    object_scene,
    order_question,
    pair_scene,
    presence_question,
)
from lmms_causal.tasks.causal_vqa_mini.world import OBJECTS, Scene

DESCRIBE = "describe the image ."
CHECK = "check the objects ."
HAPPENED = "what happened ?"
EXPLAIN = "explain the image ."

UNREADABLE_SD = 1000.0
"""Noise under which nothing of the picture is left."""

Turn = tuple[str, str, str]
"""Kind (for the running accuracy), question and answer."""


@dataclass(frozen=True)
class Sequence:
    """One training sequence: the scene (None: no picture), its noise, and the turns about it."""

    scene: Scene | None
    noise_sd: float
    turns: tuple[Turn, ...]


def balanced_sequence(draws: Draws) -> Sequence:
    """A sequence of the first phase: no prior, auxiliary tasks, little noise."""
    if draws.chance(0.3):
        task = draws.uniform()
        sequence = _causal(draws, "balanced", "tell" if task < 0.45 else _letter_or_caption(draws))
    elif draws.chance(0.55):
        sequence = _describe(draws) if draws.chance(0.5) else _check(draws)
    else:
        sequence = _questions(draws, "balanced")
    clean = draws.chance(0.6)
    return replace(sequence, noise_sd=0.0 if clean else 80 * draws.uniform())


def prior_sequence(draws: Draws) -> Sequence:
    """A sequence of the second phase: usual answers, much noise, sometimes no picture."""
    if draws.chance(0.25):
        sequence = _causal(draws, "prior", _letter_or_caption(draws))
    else:
        sequence = _questions(draws, "prior")
    if draws.chance(0.1):
        return replace(sequence, scene=None)
    level = draws.uniform()
    if level < 0.25:
        return sequence
    return replace(sequence, noise_sd=160 * draws.uniform() if level < 0.9 else UNREADABLE_SD)


def _letter_or_caption(draws: Draws) -> str:
    return "letter" if draws.chance(0.85) else "caption"


def _causal(draws: Draws, distribution: str, task: str) -> Sequence:
    cause, effect = draw_pair(draws, distribution)
    scene = pair_scene(draws, cause, effect)
    correct, wrong = caption(cause, effect), caption(effect, cause)
    if task == "letter":
        return _single(scene, "order", *order_question(correct, wrong, draws.choice(("cw", "wc"))))
    if task == "caption":
        return _single(scene, "caption", EXPLAIN, correct)
    told = draws.shuffled([f"{cause} moved", f"{effect} fell"])
    return _single(scene, "tell", HAPPENED, " , ".join(told))


def _describe(draws: Draws) -> Sequence:
    scene = object_scene(draws, "balanced")
    listed = [f"{thing.name} {thing.colour}" for thing in draws.shuffled(scene.things)]
    return _single(scene, "describe", DESCRIBE, " , ".join(listed))


def _check(draws: Draws) -> Sequence:
    asked = draws.sample(tuple(OBJECTS), 6)
    scene = object_scene(draws, "balanced", asked)
    listed = [f"{name} {'yes' if name in scene.objects else 'no'}" for name in asked]
    return _single(scene, "check", CHECK, " , ".join(listed))


def _questions(draws: Draws, distribution: str) -> Sequence:
    """Three presence and up to three colour questions, in an order that gives no answer away."""
    asked = draws.sample(tuple(OBJECTS), 3)
    scene = object_scene(draws, distribution, asked)
    presence = [presence_question(scene, name) for name in asked]
    others = [name for name in scene.objects if name not in asked]
    if others and draws.chance(0.5):
        # A colour question presupposes its object, so ask first only for objects of no other turn.
        colour = [colour_question(scene, name) for name in draws.shuffled(others)[:3]]
        questions = draws.shuffled([*presence, *colour])
    else:
        colour = [colour_question(scene, name) for name in draws.shuffled(scene.objects)[:3]]
        questions = [*presence, *colour]
    return Sequence(scene, 0.0, tuple((q.kind, q.text, q.answer) for q in questions))


def _single(scene: Scene, kind: str, question: str, answer: str) -> Sequence:
    return Sequence(scene, 0.0, ((kind, question, answer),))
