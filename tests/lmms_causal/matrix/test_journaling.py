"""The journal on a model: nothing asked twice, nothing lost, the same batches after a crash."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.matrix.answering.answers import RequestKeys, decode, encode
from lmms_causal.matrix.answering.costs import total
from lmms_causal.matrix.answering.journal import Journal, read_lines
from lmms_causal.matrix.answering.journaling import chunks, put_on
from lmms_causal.matrix.progress import Reader


def request(doc: int, idx: int = 0, text: str = "q", repeats: int = 1, padding: bool = False):
    metadata = {"task": "t", "doc_id": doc, "repeats": repeats, "__padding_only__": padding}
    settings = {"until": [], "do_sample": False}
    return SimpleNamespace(
        args=(text, settings, doc, "t", "test"),
        task_name="t",
        doc_id=doc,
        idx=idx,
        repeats=repeats,
        metadata=metadata,
    )


class Killed(BaseException):
    """What a kill is to this process."""


class Model:
    """Answers with the batch's number; dies at the document it is told to."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.dies_at = dies_at

    def generate_until(self, requests):
        if any(r.doc_id == self.dies_at for r in requests):
            raise Killed
        self.batches.append([r.doc_id for r in requests])
        return [f"{r.doc_id}/{r.idx}/{r.args[0]}" for r in requests]

    def loglikelihood(self, requests):
        return [(-float(r.doc_id) / 3, r.doc_id % 2 == 0) for r in requests]


def attempt(folder, requests, documents=2, dies_at=None, verb="generate_until", rank=0):
    """One process: returns its model and its answers, None if it was killed."""
    model, journal = Model(dies_at), Journal(folder, rank)
    put_on(model, journal, documents, lambda: {"requests": 1})
    try:
        return model, getattr(model, verb)(requests)
    except Killed:
        return model, None
    finally:
        journal.close()


def test_a_killed_cell_goes_on_with_the_batches_it_would_have_had(tmp_path):
    requests = [request(doc) for doc in range(7)]
    whole, answers = attempt(tmp_path / "whole", requests)
    first, none = attempt(tmp_path / "cut", requests, dies_at=3)
    second, none_again = attempt(tmp_path / "cut", requests, dies_at=6)
    third, resumed = attempt(tmp_path / "cut", requests)
    assert none is None and none_again is None
    assert resumed == answers == [f"{doc}/0/q" for doc in range(7)]
    assert first.batches + second.batches + third.batches == whole.batches
    assert whole.batches == [[0, 1], [2, 3], [4, 5], [6]]
    files = sorted((tmp_path / "cut").glob("*.jsonl"))
    assert len(files) == 3
    written = [line["doc"] for file in files for line in read_lines(file) if "key" in line]
    assert sorted(written) == list(range(7))


def test_a_line_torn_by_the_kill_is_asked_again_and_spoils_no_other(tmp_path):
    requests = [request(doc) for doc in range(4)]
    attempt(tmp_path, requests, documents=1)
    (file,) = tmp_path.glob("*.jsonl")
    data = file.read_bytes()
    file.write_bytes(data[: data.index(b'"doc": 3') + 4])
    model, answers = attempt(tmp_path, requests, documents=1)
    assert model.batches == [[3]] and answers == [f"{doc}/0/q" for doc in range(4)]


def test_a_chunk_that_was_not_closed_is_asked_again_as_a_whole(tmp_path):
    """Half of it would be completed in a batch that it never had."""
    requests = [request(doc) for doc in range(4)]
    attempt(tmp_path, requests)
    (file,) = tmp_path.glob("*.jsonl")
    data = file.read_bytes()
    file.write_bytes(data[: data.rindex(b'{"key"')] + b'{"key": "spoilt\n')
    model, answers = attempt(tmp_path, requests)
    assert model.batches == [[2, 3]] and answers == [f"{doc}/0/q" for doc in range(4)]


def test_two_processes_of_one_rank_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LMMS_CAUSAL_ATTEMPT", "1")
    attempt(tmp_path, [request(0)])
    with pytest.raises(UserError, match=r"cannot be written \(File exists"):
        attempt(tmp_path, [request(0)])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # a launcher that tries again says so
    model, answers = attempt(tmp_path, [request(0)])
    assert model.batches == [] and answers == ["0/0/q"]


def test_chunks_hold_whole_documents():
    requests = [request(doc, idx) for doc in range(5) for idx in range(3)]
    found = list(chunks(requests, 2))
    assert [index for chunk in found for index in chunk] == list(range(15))
    assert [len(chunk) for chunk in found] == [6, 6, 3]


def test_answers_of_all_ranks_are_known_to_a_run_with_another_number_of_ranks(tmp_path):
    requests = [request(doc) for doc in range(6)]
    attempt(tmp_path, requests[0::2], rank=0)
    attempt(tmp_path, requests[1::2], rank=1)
    model, answers = attempt(tmp_path, requests)
    assert model.batches == [] and answers == [f"{doc}/0/q" for doc in range(6)]


def test_requests_are_told_apart_by_text_choice_settings_and_repetition():
    keys = RequestKeys()
    changed = request(1)
    changed.args = ("q", {"until": [], "do_sample": True}, 1, "t", "test")
    asked = [request(1), request(1), request(2), request(1, idx=1), request(1, text="p"), changed]
    named = [keys("generate_until", it) for it in asked] + [keys("loglikelihood", request(1))]
    assert len(set(named)) == len(named)
    again = RequestKeys()
    assert [again("generate_until", it) for it in asked] == named[:-1]


def test_lm_eval_s_padding_is_answered_by_the_repeated_request(tmp_path):
    asked = [request(0), request(1)]
    for it in asked:
        it.metadata = ("t", it.doc_id, 1)
    model, answers = attempt(tmp_path, [*asked, asked[-1], asked[-1]], documents=5)
    assert model.batches == [[0, 1]] and answers == ["0/0/q", "1/0/q", "1/0/q", "1/0/q"]


def test_lmms_eval_s_padding_is_not_evaluated(tmp_path):
    model, answers = attempt(tmp_path, [request(0), request(0, padding=True)])
    assert model.batches == [[0]] and answers == ["0/0/q", ""]


def test_answers_come_back_as_they_were_given(tmp_path):
    from lmms_eval.api.instance import GenerationResult, TokenCounts

    from lmms_causal.models.lmms_eval_forms import LossPair

    third = 1 / 3
    for answer in (" yes\n", "", "ü\u2028\x00", (-third, True), third, ["a", "b"]):
        back = decode(encode(answer))
        assert back == answer and type(back) is type(answer)
    counted = GenerationResult("yes", TokenCounts(input_tokens=3, output_tokens=0))
    assert decode(encode(counted)) == counted
    pair = decode(encode(GenerationResult(LossPair((third, False)), TokenCounts())))
    assert isinstance(pair.text, LossPair) and tuple(pair.text) == (third, False)
    with pytest.raises(TypeError, match="cannot be kept"):
        encode(object())
    half = "\ud83d"  # of a surrogate pair, as an API may send it
    _, first = attempt(tmp_path / "half", [request(0, text=half)])
    assert first == attempt(tmp_path / "half", [request(0, text=half)])[1] == [f"0/0/{half}"]
    requests = [request(doc) for doc in range(3)]
    _, first = attempt(tmp_path, requests, verb="loglikelihood")
    _, second = attempt(tmp_path, requests, verb="loglikelihood")
    assert first == second == [(-doc / 3, doc % 2 == 0) for doc in range(3)]


def test_models_in_parts_over_several_ranks_are_refused(tmp_path):
    model = Model()
    model.accelerator = SimpleNamespace(distributed_type="DistributedType.FSDP")
    put_on(model, Journal(tmp_path), 1, lambda: None)
    with pytest.raises(UserError, match=r"parts of one model \(FSDP\)"):
        model.generate_until([request(0)])


def test_costs_of_attempts_add_up(tmp_path):
    requests = [request(doc) for doc in range(5)]
    attempt(tmp_path, requests, documents=1, dies_at=2)
    attempt(tmp_path, requests, documents=1)
    assert total(Journal(tmp_path).costs()) == {"requests": 5}
    chunks_of_two = [
        {"requests": 1, "forward_passes": 4, "total_elapsed_time": 1.0, "peak_memory_mb": 5},
        {"requests": 3, "forward_passes": 4, "total_elapsed_time": 0.5, "peak_memory_mb": 4},
    ]
    assert total(chunks_of_two) == {
        "requests": 4,
        "forward_passes": 8,
        "total_elapsed_time": 1.5,
        "peak_memory_mb": 5,
        "forward_passes_per_request": 2.0,
    }


def test_progress_counts_this_attempt_and_what_is_kept(tmp_path):
    requests = [request(doc) for doc in range(6)]
    attempt(tmp_path, requests, documents=1, dies_at=2)
    reader = Reader(tmp_path)
    attempt(tmp_path, requests, documents=1, dies_at=5)
    reader.update()
    reader.update()
    assert (reader.requests, reader.known, reader.answered, reader.documents) == (6, 2, 3, 3)
