"""Which annotated objects a description mentions: AMBER's matching, with exchangeable parts.

Source: repository junyangwang0410/AMBER, ``inference.py``. There, nouns are found by NLTK's tagger
and lemmatiser, and two words are synonyms if their spaCy vectors (``en_core_web_lg``) have a cosine
above 0.8. Both depend on models that are not part of this package. `words_of` finds words of the
vocabulary by their singular instead; `match` is the authors' procedure for any nouns and any
notion of synonyms, and without one it goes by the associated words alone. `official` has theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import eq

from lmms_causal.tasks.amber.data import Vocabulary

__all__ = ["Mentions", "match", "words_of"]

_WORD = re.compile(r"[^\W\d_]+")
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""), ("men", "man"))
_IRREGULAR = {
    **{"people": "person", "children": "child", "feet": "foot", "teeth": "tooth"},
    **{"geese": "goose", "mice": "mouse", "knives": "knife", "leaves": "leaf"},
}


@dataclass(frozen=True)
class Mentions:
    """What one description mentions.

    Attributes:
        words: the mentioned words of the vocabulary, repetitions included.
        wrong: for each of them whether it matches nothing that is in the picture.
        covered: how many of the objects in the picture are mentioned.
        imagined: how many of the objects are mentioned that one might wrongly expect.
    """

    words: tuple[str, ...]
    wrong: tuple[bool, ...]
    covered: int
    imagined: int


def words_of(text: str, vocabulary: Vocabulary) -> list[str]:
    """The words of a text that the vocabulary holds, as they stand or in the singular.

    Parts of speech are not looked at, so "to light a fire" mentions a light.
    """
    found = []
    for word in _WORD.findall(text.casefold()):
        forms = [word, *([_IRREGULAR[word]] if word in _IRREGULAR else [])]
        forms += [
            word[: -len(ending)] + singular
            for ending, singular in _ENDINGS
            if word.endswith(ending) and len(word) > len(ending) + 1
        ]
        if known := next((form for form in forms if form in vocabulary.words), None):
            found.append(known)
    return found


def match(
    words: Sequence[str],
    truth: Sequence[str],
    imagined: Sequence[str],
    vocabulary: Vocabulary,
    similar: Callable[[str, str], bool] = lambda word, known: False,
) -> Mentions:
    """The authors' matching of nouns to objects.

    A safe word is never wrong and covers nothing. A word that is an object of ``truth``, or
    associated to one, covers the first such object. Any other word may stand for an imagined
    object, if it is one, is associated to one or is ``similar`` to either, and it is wrong unless
    it is ``similar`` to an object of ``truth`` or a word associated to one, which it then covers.

    Args:
        words: nouns of the description that the vocabulary holds.
        truth: objects in the picture.
        imagined: objects that are not, but might be expected.
        vocabulary: AMBER's words.
        similar: whether two words are synonyms.
    """
    in_picture, expected = _owners(truth, vocabulary), _owners(imagined, vocabulary)
    covered: set[int] = set()
    fancied: set[int] = set()
    wrong = []
    for word in words:
        if word in vocabulary.safe:
            wrong.append(False)
            continue
        if (owner := _first(in_picture, partial(eq, word))) is not None:
            covered.add(owner)
            wrong.append(False)
            continue
        for same in (partial(eq, word), partial(similar, word)):
            if (owner := _first(expected, same)) is not None:
                fancied.add(owner)
        owner = _first(in_picture, partial(similar, word))
        if owner is not None:
            covered.add(owner)
        wrong.append(owner is None)
    return Mentions(tuple(words), tuple(wrong), len(covered), len(fancied))


def _owners(objects: Sequence[str], vocabulary: Vocabulary) -> list[tuple[str, int]]:
    """Words with the object each stands for: first all associated ones, then the objects."""
    associated = [
        (word, index)
        for index, name in enumerate(objects)
        for word in vocabulary.associated.get(name, ())
    ]
    return associated + [(name, index) for index, name in enumerate(objects)]


def _first(owners: list[tuple[str, int]], same: Callable[[str], bool]) -> int | None:
    return next((index for word, index in owners if same(word)), None)
