"""The authors' matcher: nouns by NLTK, synonyms by spaCy's word vectors.

Rules read in ``inference.py`` of the repository junyangwang0410/AMBER (commit 5e1fd52) and written
anew. Nouns are the words that NLTK's perceptron tagger gives a tag ``NN...``, each as the shortest
noun of which WordNet knows it as a form; case is kept. Two words are synonyms if their vectors in
``en_core_web_lg`` have a cosine above 0.8. What is done with both is in `objects.match`.

It needs NLTK and spaCy (`INSTALL`) and their data, fetched apart.
``AMBER_SPACY_MODEL`` names the package, or a folder with it, if it is not installed under its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.amber.data import Vocabulary
from lmms_causal.tasks.amber.objects import Mentions, match

__all__ = ["Matcher", "Nouns", "Synonyms", "load"]

MODEL_VARIABLE = "AMBER_SPACY_MODEL"
MODEL = "en_core_web_lg"
THRESHOLD = 0.8
INSTALL = "pip install 'nltk>=3.9.1' 'spacy>=3.8'"

_UNUSED = ("tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer", "ner")
_RESOURCE = re.compile(r"nltk\.download\('([^']+)'\)")


@dataclass(frozen=True)
class Matcher:
    """The two things that the authors' procedure asks of language models.

    Attributes:
        nouns: the nouns of a text in the singular, repetitions included.
        similar: whether two words are synonyms.
        versions: the packages and the model that the verdicts depend on.
    """

    nouns: Callable[[str], Sequence[str]]
    similar: Callable[[str, str], bool]
    versions: str

    def mentions(
        self, text: str, truth: Sequence[str], imagined: Sequence[str], words: Vocabulary
    ) -> Mentions:
        """What the text mentions, by the authors' procedure.

        Args:
            text: the description.
            truth: objects in the picture.
            imagined: objects that are not, but might be expected.
            words: AMBER's words; nouns that it does not hold are no mentions.
        """
        nouns = [noun for noun in self.nouns(text) if noun in words.words]
        return match(nouns, truth, imagined, words, self.similar)


class Nouns:
    """NLTK's tokenizer, tagger and lemmatizer in the authors' order.

    Args:
        tokenize: ``nltk.word_tokenize``.
        tag: gives each token its Penn tag. ``nltk.pos_tag`` reads its tagger anew in every call, so
            `load` hands over the method of one tagger.
        lemmatize: the singular of a noun.
    """

    def __init__(
        self,
        tokenize: Callable[[str], list[str]],
        tag: Callable[[list[str]], list[tuple[str, str]]],
        lemmatize: Callable[[str], str],
    ) -> None:
        self._tokenize, self._tag, self._lemmatize = tokenize, tag, lemmatize

    def __call__(self, text: str) -> list[str]:
        """The nouns of a text, in order."""
        tagged = self._tag(self._tokenize(text))
        return [self._lemmatize(word) for word, tag in tagged if tag.startswith("NN")]


class Synonyms:
    """Whether the vectors of two words have a cosine above 0.8.

    Only the tokenizer of the pipeline runs: its other components do not change a word's vector.

    Args:
        pipeline: a spaCy pipeline with word vectors.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._docs: dict[str, Any] = {}
        self._known: dict[tuple[str, str], bool] = {}
        self._lock = Lock()  # lmms-eval scores documents in several threads

    def __call__(self, one: str, other: str) -> bool:
        """Whether the two words are synonyms; a word is its own, even without a vector."""
        if one == other:
            return True
        with self._lock:
            if (one, other) not in self._known:
                self._known[one, other] = self._compare(self._doc(one), self._doc(other))
            return self._known[one, other]

    def _doc(self, word: str) -> Any:
        if word not in self._docs:
            self._docs[word] = self._pipeline.make_doc(word)
        return self._docs[word]

    @staticmethod
    def _compare(one: Any, other: Any) -> bool:
        # spaCy gives these pairs 0, and a warning each.
        if not (one.vector_norm and other.vector_norm):
            return False
        return bool(one.similarity(other) > THRESHOLD)


def load() -> Matcher:
    """The authors' matcher.

    Raises:
        UserError: packages or data are missing; the message names all of them.
    """
    found = _load(os.environ.get(MODEL_VARIABLE, MODEL))
    if isinstance(found, str):
        raise UserError(f"the authors' matcher of AMBER cannot be used: {found}")
    return found


@cache
def _load(model: str) -> Matcher | str:
    """The matcher, or what is missing and how to get it."""
    nouns, synonyms = _nouns(), _synonyms(model)
    if isinstance(nouns, str) or isinstance(synonyms, str):
        return "; ".join(part for part in (nouns, synonyms) if isinstance(part, str))
    (extract, nltk), (similar, spacy) = nouns, synonyms
    return Matcher(extract, similar, f"{nltk}, {spacy}")


def _nouns() -> tuple[Nouns, str] | str:
    try:
        import nltk
        from nltk.corpus import wordnet
        from nltk.stem import WordNetLemmatizer
        from nltk.tag import PerceptronTagger
    except ImportError:
        return f"NLTK is not installed: {INSTALL}"
    lacking, taggers = [], []
    for data, attempt in (
        ("punkt_tab", lambda: nltk.word_tokenize(".")),
        ("averaged_perceptron_tagger_eng", lambda: taggers.append(PerceptronTagger())),
        # A reader that is loaded on first use would be loaded by several threads at once.
        ("wordnet", lambda: wordnet.ensure_loaded()),
    ):
        try:
            attempt()
        except (LookupError, OSError) as error:  # not there, or only in part
            named = _RESOURCE.search(str(error))  # other releases of NLTK have other names
            lacking.append(named.group(1) if named else data)
    if lacking:
        names = " ".join(lacking)
        return f"NLTK has no data {', '.join(lacking)}: python -m nltk.downloader {names}"
    (tagger,) = taggers
    nouns = Nouns(nltk.word_tokenize, tagger.tag, WordNetLemmatizer().lemmatize)
    return nouns, f"nltk {nltk.__version__}"


def _synonyms(model: str) -> tuple[Synonyms, str] | str:
    try:
        import spacy
    except ImportError:
        return f"spaCy is not installed: {INSTALL}"
    fetch = f"python -m spacy download {MODEL}, or name its folder in {MODEL_VARIABLE}"
    try:
        pipeline = spacy.load(model, exclude=list(_UNUSED))
    except (OSError, ValueError):
        return f"spaCy finds no model {model!r}: {fetch}"
    name = f"{pipeline.meta['lang']}_{pipeline.meta['name']}"
    if name != MODEL:
        # The smaller ones have no vectors, or share one among unlike words.
        return f"{model!r} is {name}, and the authors compare words by {MODEL}: {fetch}"
    version = pipeline.meta["version"]
    return Synonyms(pipeline), f"spaCy {spacy.__version__}, {name} {version}"
