"""Questions about the rendered world, and the distributions they are drawn from.

Three kinds of question: causal order (the format of VQA-Causal: which of two captions with cause
and effect exchanged is right), presence and colour. Each kind has a *prior*: which answer is
usual. Test questions are drawn so that the truth agrees with it (``consistent``) or contradicts
it (``conflict``); training draws from ``balanced`` (no prior) or ``prior`` (the usual answer nine
times in ten).

Test and training questions never share a draw: every stream of draws starts with a tag of its
split (`TEST`, `TRAIN`), which is the first word of the seed's entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmms_causal.tasks.causal_vqa_mini.draws import Draws
from lmms_causal.tasks.causal_vqa_mini.world import (
    BOX,
    CELL,
    COLOURS,
    OBJECTS,
    PAIRS,
    SIZE,
    TRAIL,
    Scene,
    Thing,
    render,
    with_noise,
)

__all__ = [
    "DISTRIBUTIONS",
    "KINDS",
    "NOISE_SD",
    "PRIORS",
    "TEST",
    "TRAIN",
    "Question",
    "Scene",
    "caption",
    "colour_question",
    "draw_pair",
    "object_scene",
    "order_question",
    "pair_scene",
    "presence_question",
    "render",
    "sample_question",
    "with_noise",
]

KINDS = ("order", "presence", "colour")
PRIORS = ("consistent", "conflict")
DISTRIBUTIONS = ("balanced", "prior")

TEST, TRAIN = 1, 2
"""First entropy word of held-out and of training draws."""

NOISE_SD = 160.0
"""Noise of the task's noisy condition, in grey levels.

Chosen from the measured curve of the tiny model (see the card in `lmms_causal/tiny_llava`): here
its prior misleads it on all three kinds of question, and it can still see something.
"""

USUAL = 0.9
"""Probability of the usual answer in the ``prior`` distribution."""

COMMON_OBJECTS = ("banana", "apple", "leaf", "drop")
"""Objects that are usually there when asked for; the other four usually are not."""

MAX_OBJECTS = 5
_CELLS = tuple((CELL * column, CELL * row) for row in range(3) for column in range(3))
_JITTER = 2


@dataclass(frozen=True)
class Question:
    """A question about a scene, its answer, and whether the truth agrees with the prior.

    ``correct``, ``wrong`` (captions) and ``order`` (``"cw"``: the correct one is A) are set for
    kind ``order`` only, ``subject`` (the object asked for) for the other two.
    """

    kind: str
    scene: Scene
    text: str
    choices: tuple[str, ...]
    answer: str
    prior: str
    subject: str | None = None
    correct: str | None = None
    wrong: str | None = None
    order: str | None = None


def sample_question(
    kind: str, prior: str, rng_or_seed: Draws | int, *, order: str | None = None
) -> Question:
    """A held-out question of this kind whose truth agrees or conflicts with the prior.

    An integer seed is a test seed: the draws are ``Draws(TEST, kind, prior, seed)``. What is not
    asked for (other objects and their colours) follows the ``prior`` distribution. ``order`` fixes
    the options of an ``order`` question (``"cw"`` or ``"wc"``); without it they are drawn.
    """
    _check("kind", kind, KINDS)
    _check("prior", prior, PRIORS)
    draws = rng_or_seed
    if not isinstance(draws, Draws):
        draws = Draws(TEST, KINDS.index(kind), PRIORS.index(prior), draws)
    usual = prior == "consistent"
    if kind == "order":
        cause, effect = draws.choice(PAIRS)
        if not usual:
            cause, effect = effect, cause
        drawn = draws.choice(("cw", "wc"))
        return _order_of(pair_scene(draws, cause, effect), order or drawn)
    subject = draws.choice(tuple(OBJECTS))
    if kind == "presence":
        there = (subject in COMMON_OBJECTS) == usual
        return presence_question(object_scene(draws, "prior", {subject: there}), subject)
    colour = OBJECTS[subject]
    if not usual:
        colour = draws.choice([word for word in COLOURS if word != colour])
    scene = object_scene(draws, "prior", {subject: True}, {subject: colour})
    return colour_question(scene, subject)


def caption(cause: str, effect: str) -> str:
    """The sentence that this cause had this effect."""
    return f"the {effect} fell because the {cause} moved"


def order_question(correct: str, wrong: str, order: str = "cw") -> tuple[str, str]:
    """The letter question on two captions and its answer; ``cw`` puts the correct one first."""
    _check("order", order, ("cw", "wc"))
    first, second = (correct, wrong) if order == "cw" else (wrong, correct)
    return f"which is right ? A . {first} B . {second}", "A" if order == "cw" else "B"


def presence_question(scene: Scene, subject: str) -> Question:
    """Is there such an object in the scene?"""
    there = subject in scene.objects
    usual = there == (subject in COMMON_OBJECTS)
    return Question(
        "presence",
        scene,
        f"is there {'an' if subject[0] in 'aeiou' else 'a'} {subject} in the image ?",
        ("yes", "no"),
        "yes" if there else "no",
        PRIORS[0] if usual else PRIORS[1],
        subject=subject,
    )


def colour_question(scene: Scene, subject: str) -> Question:
    """What colour does the object in the scene have?"""
    colour = scene.colour_of(subject)
    if colour is None:
        raise ValueError(f"no {subject!r} in the scene to ask the colour of: {scene.objects}")
    return Question(
        "colour",
        scene,
        f"what color is the {subject} ?",
        tuple(COLOURS),
        colour,
        PRIORS[0] if colour == OBJECTS[subject] else PRIORS[1],
        subject=subject,
    )


def _order_of(scene: Scene, order: str) -> Question:
    """The causal order question about a scene with a causal pair."""
    assert scene.causal is not None
    cause, effect = scene.causal
    correct, wrong = caption(cause, effect), caption(effect, cause)
    text, answer = order_question(correct, wrong, order)
    return Question(
        "order",
        scene,
        text,
        ("A", "B"),
        answer,
        PRIORS[0] if scene.causal in PAIRS else PRIORS[1],
        correct=correct,
        wrong=wrong,
        order=order,
    )


def object_scene(
    draws: Draws,
    distribution: str,
    asked: Mapping[str, bool] | Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
) -> Scene:
    """One to five objects in different cells, none twice.

    ``asked`` objects are in the scene as the mapping says; for a plain sequence of names each is
    drawn on its own from the distribution (so that the answer's probability given the question is
    exact). The rest of the scene is filled up from the objects not asked for. ``colours`` fixes
    colours; all others are drawn from the distribution.
    """
    _check("distribution", distribution, DISTRIBUTIONS)
    if not isinstance(asked, Mapping):
        asked = {name: draws.chance(_presence_rate(distribution, name)) for name in asked}
    present = [name for name, there in asked.items() if there]
    others = [name for name in OBJECTS if name not in asked]
    count = draws.between(max(1, len(present)), MAX_OBJECTS)
    names = draws.shuffled(present + draws.sample(others, min(count - len(present), len(others))))
    fixed = colours or {}
    things = [
        Thing(
            name,
            fixed[name] if name in fixed else _draw_colour(draws, distribution, name),
            left + draws.between(0, _JITTER),
            top + draws.between(0, _JITTER),
        )
        for name, (left, top) in zip(names, draws.sample(_CELLS, len(names)), strict=True)
    ]
    return Scene(tuple(things), draws.seed())


def pair_scene(draws: Draws, cause: str, effect: str) -> Scene:
    """Side by side, what moved (streaks behind it) and what fell because of it; or the mirror.

    The pair lies anywhere in its row, so that the place of a thing hardly tells its part.
    """
    mirrored = draws.chance(0.5)
    top = CELL * draws.below(3) + draws.between(0, _JITTER)
    lefts = [TRAIL + draws.below(SIZE - TRAIL - 2 * BOX + 1)]
    lefts.append(lefts[0] + BOX)
    if mirrored:
        lefts = [SIZE - BOX - left for left in lefts]
    mover = Thing(cause, None, lefts[0], top, "moved", mirrored)
    faller = Thing(effect, None, lefts[1], top, "fell", mirrored)
    return Scene((mover, faller), draws.seed())


def draw_pair(draws: Draws, distribution: str) -> tuple[str, str]:
    """(cause, effect) of a causal scene, drawn from the distribution."""
    _check("distribution", distribution, DISTRIBUTIONS)
    cause, effect = draws.choice(PAIRS)
    usual = draws.chance(0.5 if distribution == "balanced" else USUAL)
    return (cause, effect) if usual else (effect, cause)


def _presence_rate(distribution: str, name: str) -> float:
    if distribution == "balanced":
        return 0.5
    return USUAL if name in COMMON_OBJECTS else 1 - USUAL


def _draw_colour(draws: Draws, distribution: str, name: str) -> str:
    if distribution == "balanced":
        return draws.choice(tuple(COLOURS))
    if draws.chance(USUAL):
        return OBJECTS[name]
    return draws.choice([word for word in COLOURS if word != OBJECTS[name]])


def _check(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(allowed)}; got {value!r}")
