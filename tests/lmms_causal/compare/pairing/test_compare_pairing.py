"""Pairing documents, choosing clusters, and refusing what does not belong together."""

from __future__ import annotations

from typing import Any

import pytest

from lmms_causal.compare.pairing.fields import choose_cluster_key, stratify
from lmms_causal.compare.pairing.pairs import pair_samples
from lmms_causal.compare.records import Sample
from lmms_causal.errors import UserError


def _sample(doc_id: int, key: str | None = None, **more: Any) -> Sample:
    fields: dict[str, Any] = {"target": "A", "attributes": {}, "metrics": {}} | more
    return Sample(task="toy", filter="none", doc_id=doc_id, key=key, response="", **fields)


def test_documents_are_paired_by_their_own_id_whatever_their_rows() -> None:
    a = [_sample(0, "x"), _sample(1, "y")]
    b = [_sample(0, "y"), _sample(1, "x")]
    pairing = pair_samples(a, b, "toy")
    assert [(left.key, right.key) for left, right in pairing.pairs] == [("x", "x"), ("y", "y")]
    assert pairing.by == "document id"


def test_another_limit_is_refused_with_the_counts_and_examples() -> None:
    a = [_sample(index, f"d{index}") for index in range(9)]
    with pytest.raises(
        UserError, match=r"4 in both, 5 only in A \(d4, d5, d6, \.\.\.\), 0 only in B"
    ):
        pair_samples(a, a[:4], "toy")


def test_intersect_compares_the_common_documents_and_counts_the_rest() -> None:
    a = [_sample(index, f"d{index}") for index in range(4)]
    b = [_sample(index, f"d{index}") for index in range(2, 9)]
    pairing = pair_samples(a, b, "toy", intersect=True)
    assert [left.key for left, _ in pairing.pairs] == ["d2", "d3"]
    assert (pairing.only_a, pairing.only_b) == (2, 5)


def test_without_an_id_another_target_or_hash_is_another_document() -> None:
    with pytest.raises(UserError, match="no document in common"):
        pair_samples([_sample(0, target="A")], [_sample(0, target="B")], "toy")
    with pytest.raises(UserError, match="document hash"):
        pair_samples([_sample(0, doc_hash="1")], [_sample(0, doc_hash="2")], "toy")


def test_nothing_in_common_is_refused_even_with_intersect() -> None:
    with pytest.raises(UserError, match="no document in common"):
        pair_samples([_sample(0, "x")], [_sample(0, "y")], "toy", intersect=True)


def test_ids_that_several_documents_share_fall_back_to_row_and_target() -> None:
    """An ``id`` of the video, not of the question: rows tell the documents apart."""
    a = [_sample(row, f"video{row // 3}") for row in range(6)]
    pairing = pair_samples(a, list(reversed(a)), "toy")
    assert [(left.doc_id, right.doc_id) for left, right in pairing.pairs] == [
        (row, row) for row in range(6)
    ]
    assert pairing.by == "row and target" and pairing.repeated_ids
    assert not pair_samples(a[::3], a[::3], "toy").repeated_ids


def test_a_document_twice_in_a_run_is_refused() -> None:
    with pytest.raises(UserError, match="rows 0 and 0 of run A are the same document"):
        pair_samples([_sample(0, "x"), _sample(0, "x")], [_sample(0, "x")], "toy")


def test_a_run_without_documents_is_refused() -> None:
    with pytest.raises(UserError, match=r"run B has no documents of this task.*--log_samples"):
        pair_samples([_sample(0, "x")], [], "toy")


def test_documents_scored_against_other_answers_are_found() -> None:
    a = [_sample(0, "x"), _sample(1, "y")]
    b = [_sample(0, "x"), _sample(1, "y", target="B")]
    assert [left.key for left, _ in pair_samples(a, b, "toy").targets_differ] == ["y"]


def test_prompts_that_differ_are_counted() -> None:
    a = [_sample(0, "x", prompt="Why?"), _sample(1, "y", prompt=None)]
    b = [_sample(0, "x", prompt="How?"), _sample(1, "y", prompt="How?")]
    assert pair_samples(a, b, "toy").prompts_differ == 1


def test_the_coarsest_recorded_grouping_makes_the_clusters() -> None:
    samples = [
        _sample(index, attributes={"pair_id": index // 2, "image_id": index // 4, "cluster": index})
        for index in range(8)
    ]
    assert choose_cluster_key(samples) == "image_id"
    assert choose_cluster_key(samples, preferred="pair_id") == "pair_id"
    assert choose_cluster_key(samples, "pair_id", requested="image_id") == "image_id"
    assert choose_cluster_key(samples, "pair_id", requested="none") is None
    assert choose_cluster_key([_sample(0, attributes={"pair_id": 0})]) is None
    shared = [_sample(index, attributes={"id": index // 2}) for index in range(4)]
    assert choose_cluster_key(shared) == "id" and choose_cluster_key(shared[::2]) is None


def test_a_key_that_some_document_lacks_is_refused_with_those_recorded() -> None:
    samples = [_sample(0, attributes={"s": 1, "t": 1}), _sample(1, attributes={"s": 1})]
    assert stratify(samples, "s") == ["1", "1"]
    with pytest.raises(UserError, match=r"--by t: .*recorded are s"):
        stratify(samples, "t")
    with pytest.raises(UserError, match=r"--cluster t: .*recorded are s"):
        choose_cluster_key(samples, requested="t")
