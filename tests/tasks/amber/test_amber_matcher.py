"""The authors' matcher: its nouns, its synonyms, and what is said when it cannot be had."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.amber import official
from lmms_causal.tasks.amber.official import Nouns, Synonyms

#: Cosines with "boat": ship 0.81, raft 0.79. "cat" has no vector.
VECTORS = {
    "boat": (1.0, 0.0, 0.0),
    "ship": (0.81, 0.5864298764, 0.0),
    "raft": (0.79, 0.6131068422, 0.0),
    "air": (0.0, 0.0, 3.0),
    "conditioning": (1.0, 0.0, 0.0),
    "fan": (0.5, 0.0, 1.5),
}
#: The description, and its nouns by NLTK's tokenizer and WordNet 3.0 for any sensible tagger.
DESCRIPTION = (
    "There are two dogs, a cat and three women. The people wear glasses. The slippers and the "
    "chopsticks lie on the table. The television and the air-conditioning are old."
)
EXTRACTED = [
    *("dog", "cat", "woman", "people", "glass", "slipper", "chopstick", "table"),
    *("television", "air-conditioning"),
]


@pytest.fixture
def pipeline() -> Any:
    """A spaCy vocabulary of six words with vectors, under the name of the published model."""
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed (extra amber)")
    numpy = pytest.importorskip("numpy")
    nlp = spacy.blank("en", meta={"name": "core_web_lg", "version": "0.0.1"})
    for word, vector in VECTORS.items():
        nlp.vocab.set_vector(word, numpy.array(vector, dtype="float32"))
    return nlp


def test_nouns_are_tokens_with_a_noun_tag_as_lemmas() -> None:
    tags = {"Dogs": "NNS", "bark": "VBP", "Paris": "NNP", "Alps": "NNPS", "big": "JJ", "cat": "NN"}
    nouns = Nouns(str.split, lambda words: [(word, tags[word]) for word in words], str.swapcase)
    assert nouns("Dogs bark big cat Paris Alps") == ["dOGS", "CAT", "pARIS", "aLPS"]
    assert nouns("") == []


def test_synonyms_have_a_cosine_above_four_fifths(pipeline: Any) -> None:
    same = Synonyms(pipeline)
    assert same("boat", "ship") and same("ship", "boat")
    assert not same("boat", "raft")
    # three tokens, of which "-" has no vector: the mean of all points as that of the other two
    assert len(pipeline("air-conditioning")) == 3
    assert same("air-conditioning", "fan") and not same("air-conditioning", "boat")


def test_words_without_a_vector_are_synonyms_of_themselves_alone(pipeline: Any) -> None:
    same = Synonyms(pipeline)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same("cat", "cat")
        assert not same("cat", "boat") and not same("boat", "cat") and not same("cat", "dog")


def test_synonyms_are_what_the_script_compares(pipeline: Any) -> None:
    """``nlp(one).similarity(nlp(other)) > 0.8``, for all pairs."""
    same = Synonyms(pipeline)
    words = [*VECTORS, "cat", "air-conditioning", "river boat"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for one in words:
            for other in words:
                expected = pipeline(one).similarity(pipeline(other)) > 0.8
                assert same(one, other) == expected, (one, other)


def test_the_model_is_loaded_from_a_folder_and_named(pipeline: Any, tmp_path: Path) -> None:
    pipeline.to_disk(tmp_path / "lg")
    found = official._synonyms(str(tmp_path / "lg"))
    assert not isinstance(found, str)
    same, versions = found
    assert same("boat", "ship") and not same("boat", "raft")
    assert versions.startswith("spaCy ") and versions.endswith(", en_core_web_lg 0.0.1")


def test_another_model_is_refused(pipeline: Any, tmp_path: Path) -> None:
    pipeline.meta["name"] = "core_web_md"
    pipeline.to_disk(tmp_path / "md")
    found = official._synonyms(str(tmp_path / "md"))
    assert isinstance(found, str)
    assert "is en_core_web_md, and the authors compare words by en_core_web_lg" in found
    missing = official._synonyms(str(tmp_path / "none"))
    assert isinstance(missing, str)
    assert "python -m spacy download en_core_web_lg" in missing
    assert "or name its folder in AMBER_SPACY_MODEL" in missing


def test_all_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBER_SPACY_MODEL", "no_such_model")
    monkeypatch.setattr(official, "_nouns", lambda: "NLTK has no data wordnet: fetch it")
    monkeypatch.setattr(official, "_synonyms", lambda model: f"spaCy finds no model {model!r}")
    official._load.cache_clear()
    with pytest.raises(UserError) as caught:
        official.load()
    official._load.cache_clear()
    assert str(caught.value) == (
        "the authors' matcher of AMBER cannot be used: NLTK has no data wordnet: fetch it; "
        "spaCy finds no model 'no_such_model'"
    )


@pytest.mark.parametrize("package, said", [("nltk", "NLTK"), ("spacy", "spaCy")])
def test_a_missing_package_is_named_with_the_packages(
    package: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    found = official._nouns() if package == "nltk" else official._synonyms("en_core_web_lg")
    assert found == f"{said} is not installed: pip install 'nltk>=3.9.1' 'spacy>=3.8'"


def test_missing_data_of_nltk_are_named_with_the_command() -> None:
    """In a process of its own: what another test has loaded would not be missed."""
    pytest.importorskip("nltk", reason="NLTK is not installed (extra amber)")
    code = (
        "import nltk; nltk.data.path[:] = []\n"
        "from lmms_causal.tasks.amber import official; print(official._nouns())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == (
        "NLTK has no data punkt_tab, averaged_perceptron_tagger_eng, wordnet: "
        "python -m nltk.downloader punkt_tab averaged_perceptron_tagger_eng wordnet\n"
    )


def test_nouns_with_nltks_data_are_those_of_the_script() -> None:
    nltk = pytest.importorskip("nltk", reason="NLTK is not installed (extra amber)")
    found = official._nouns()
    if isinstance(found, str):
        pytest.skip(found)
    nouns, version = found
    assert nouns(DESCRIPTION) == EXTRACTED
    assert version == f"nltk {nltk.__version__}"
    lemmatize = nltk.stem.WordNetLemmatizer().lemmatize
    for text in (DESCRIPTION, "Sky and leaves. TVs on shelves!", ""):
        tagged = nltk.pos_tag(nltk.word_tokenize(text))
        assert nouns(text) == [lemmatize(word) for word, tag in tagged if tag.startswith("NN")]
