"""The published matcher: spaCy lemmas, then cosine of MiniLM sentence embeddings of 0.9 or more.

Rules read in the authors' ``generate_response_and_evaluate.py`` (repository
Sangmitra-06/CENTERBENCH, commit 225847b) and written anew. It needs spaCy with its small English
model and sentence-transformers with all-MiniLM-L6-v2 (``pip install 'spacy>=3.8'
'sentence-transformers>=3'``).

``CENTERBENCH_OFFICIAL``: unset, it is used where everything is on disk; ``1``, it must be there;
``0``, it is not used. ``CENTERBENCH_SPACY_MODEL`` and ``CENTERBENCH_EMBEDDER`` name the two models
by package name, hub id or folder.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.centerbench.official_verbs import same_verb

__all__ = ["Matcher", "load", "prediction", "verdict"]

SWITCH = "CENTERBENCH_OFFICIAL"
SPACY_VARIABLE = "CENTERBENCH_SPACY_MODEL"
EMBEDDER_VARIABLE = "CENTERBENCH_EMBEDDER"
THRESHOLD = 0.9

_LABEL = re.compile(r"^\s*(?:answer:|\*\*answer:\*\*)\s*", re.IGNORECASE)
_END = re.compile(r"</think>", re.IGNORECASE)
_ARTICLE = re.compile(r"\b(?:the|a|an)\s+", re.IGNORECASE)
_PUNCTUATION = re.compile(r"[^\w\s]")


def prediction(text: str) -> str:
    """What the authors' default back end takes for the answer: the first line that is not blank.

    One leading label goes, and what precedes the last ``</think>``. An open ``<think>`` stays.
    """
    stripped = _LABEL.sub("", text, count=1).strip()
    behind = _END.split(stripped)[-1].strip()
    return next((line.strip() for line in behind.splitlines() if line.strip()), behind)


@dataclass(frozen=True)
class Matcher:
    """The matcher with its two models.

    Attributes:
        tagger: a spaCy pipeline with lemmas and parts of speech.
        embedder: a ``SentenceTransformer``.
    """

    tagger: Any
    embedder: Any

    def accepts(self, given: str, reference: str, kind: str) -> bool:
        """Whether the published scorer counts ``given`` (see `prediction`) as right."""
        sizes = len(given.split()), len(reference.split())
        if kind == "action_performed" and sizes[0] <= 2 <= sizes[1]:
            # Whatever the other rules say is overwritten, even for identical texts.
            return self._verbs_agree(_bare(given), _bare(reference))
        if self._matches(given, reference, kind):
            return True
        return kind == "action_performed" and sizes == (1, 1) and self._same(given, reference)

    def _matches(self, given: str, reference: str, kind: str) -> bool:
        if given.strip().lower() == reference.strip().lower():
            return True
        if kind == "agent_identification":
            if _without_articles(given) == _without_articles(reference):
                return True
        elif self._lemmas(given) == self._lemmas(reference):
            return True
        first, second = self.embedder.encode(
            [given, reference], normalize_embeddings=True, show_progress_bar=False
        )
        return bool(_cosine(first, second) >= THRESHOLD)

    def _lemmas(self, text: str) -> list[str]:
        return [
            token.lemma_
            for token in self.tagger(text.lower())
            if not token.is_stop or token.pos_ == "VERB"
        ]

    def _verbs_agree(self, given: str, reference: str) -> bool:
        """Any verb of one is any verb of the other, or stands in the other's text."""
        expected = self._verbs(reference)
        said = self._verbs(given)
        return any(self._same(one, other) for one in said for other in expected) or any(
            verb in given for verb in expected
        )

    def _verbs(self, text: str) -> list[str]:
        tokens = [token for token in self.tagger(text) if token.pos_ == "VERB"]
        return [token.text for token in tokens] + [token.lemma_ for token in tokens]

    def _same(self, one: str, other: str) -> bool:
        if one == other:
            return True
        lemmas = (self.tagger(verb)[0].lemma_ for verb in (one, other))
        return len(set(lemmas)) == 1 or same_verb(one, other)


def verdict(text: str, reference: str, kind: str) -> bool | None:
    """The published scorer's verdict on a model's text; None where the matcher is not used.

    Raises:
        UserError: ``CENTERBENCH_OFFICIAL=1`` and something is missing.
    """
    matcher = load()
    return None if matcher is None else matcher.accepts(prediction(text), reference, kind)


def load(*, required: bool = False) -> Matcher | None:
    """The matcher if it is wanted and can be had, by ``CENTERBENCH_OFFICIAL`` or the argument.

    Raises:
        UserError: it is required, and a package or a model is missing.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "0", "1"):
        raise UserError(f"{SWITCH}={switch} is neither 0 nor 1; correct or unset it")
    if switch == "0" and not required:
        return None
    names = (
        os.environ.get(SPACY_VARIABLE, "en_core_web_sm"),
        os.environ.get(EMBEDDER_VARIABLE, "all-MiniLM-L6-v2"),
    )
    found = _load(*names)
    if isinstance(found, str):
        if required or switch == "1":
            raise UserError(f"the published matcher of CenterBench cannot be used: {found}")
        return None
    return found


@cache
def _load(spacy_model: str, embedder: str) -> Matcher | str:
    """The matcher, or what is missing and how to get it."""
    try:
        import spacy
    except ImportError:
        return "spaCy is not installed: pip install 'spacy>=3.8'"
    try:
        tagger = spacy.load(spacy_model, disable=["ner", "textcat"])
    except OSError:
        return (
            f"spaCy has no model {spacy_model!r}: python -m spacy download en_core_web_sm, or name "
            f"a package or folder in {SPACY_VARIABLE}"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return "sentence-transformers is not installed: pip install 'sentence-transformers>=3'"
    try:
        return Matcher(tagger, SentenceTransformer(embedder, device="cpu", local_files_only=True))
    except (OSError, ValueError) as error:
        line = str(error).partition("\n")[0]
        return (
            f"the embedding model {embedder!r} is not on disk ({line}): hf download "
            f"sentence-transformers/all-MiniLM-L6-v2, or name a folder in {EMBEDDER_VARIABLE}"
        )


def _cosine(first: Any, second: Any) -> float:
    """As ``sentence_transformers.util.cos_sim``, which normalises once more, in float32."""
    from sentence_transformers import util

    return float(util.cos_sim(first, second).item())


def _bare(text: str) -> str:
    return " ".join(_PUNCTUATION.sub("", text.lower().strip()).split())


def _without_articles(text: str) -> str:
    return _ARTICLE.sub("", text.strip().lower()).strip()
