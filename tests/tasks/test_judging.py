"""What judged tasks share: waiting as told, failures in one line, no keys in records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import judge_calls, judge_protocol
from lmms_causal.tasks.judge_protocol import Protocol, Trial, parse_score, who_judged
from lmms_causal.tasks.verdict_cache import VerdictCache
from lmms_causal.testing.judge import Refusal, StubJudge, stub_judge

pytest.importorskip("lmms_eval.llm_judge")

KEY = "sk-a-key-that-nobody-may-read"
RIGHT = "<reference>\nyes\n</reference>\n<response>\n{}\n</response>"


def _render(doc: Mapping[str, Any], response: str) -> str:
    return RIGHT.format(response)


TRIALS = (Trial({}, "yes", (1,)), Trial({}, "no", (0,)))
PROTOCOL = Protocol("toy", "toy.jsonl", "1.0", _render, parse_score, TRIALS, empty=0)


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now, self.pauses = 1000.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(judge_calls, "time", clock)
    return clock


@pytest.fixture(params=["local", "openai"])
def judge(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StubJudge]:
    """The stand-in, through the provider with a client of its own and through the one without."""
    with stub_judge() as judge:
        address = judge.url.replace("http://", "http://user:pass-word@")
        variables = {
            "API_TYPE": request.param,
            "MODEL_VERSION": "stub",
            "LLM_JUDGE_URL": address,
            "OPENAI_API_URL": address.removesuffix("/chat/completions"),
            "OPENAI_API_KEY": KEY,
            "LMMS_CAUSAL_CACHE": str(tmp_path / "cache"),
        }
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        for variable in ("LMMS_CAUSAL_JUDGE", "LMMS_CAUSAL_JUDGE_PREFLIGHT"):
            monkeypatch.delenv(variable, raising=False)
        judge_protocol._made.cache_clear()
        yield judge
        judge_protocol._made.cache_clear()


def _limited(seconds: str | None, message: str = "slow down") -> Refusal:
    headers = {} if seconds is None else {"Retry-After": seconds}
    return Refusal(429, headers, {"error": {"message": message, "code": "rate_limit_exceeded"}})


def test_a_rate_limit_is_waited_for_as_long_as_the_server_asks(
    judge: StubJudge, clock: Clock
) -> None:
    judge.refusals.extend([_limited("7"), _limited("40")])
    ruling = PROTOCOL.rule_on({}, "yes")
    assert (ruling.verdict, ruling.calls, clock.pauses) == (1, 1, [7.0, 40.0])
    assert len(judge.asked) == 3  # the client beneath repeats nothing by itself
    judge.refusals.extend([_limited(None)] * 5)
    assert PROTOCOL.rule_on({}, "no").verdict == 0
    assert clock.pauses[2:] == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_a_rate_limit_before_the_run_is_waited_for_too(judge: StubJudge, clock: Clock) -> None:
    judge.refusals.append(_limited("3"))
    PROTOCOL.preflight()
    assert clock.pauses == [3.0]
    asked = len(judge.asked)
    PROTOCOL.preflight()  # the trials have been right
    assert len(judge.asked) == asked == 3


@pytest.mark.parametrize(
    "refusal, problem",
    [
        (_limited("3600"), "HTTP 429 Too Many Requests: slow down"),
        (
            Refusal(429, body={"error": {"message": "buy more", "code": "insufficient_quota"}}),
            "HTTP 429 Too Many Requests: buy more",
        ),
        (Refusal(400, body={"error": {"message": "too long"}}), "HTTP 400 Bad Request: too long"),
        (Refusal(404, body={"detail": "no stub here"}), "HTTP 404 Not Found: no stub here"),
    ],
)
def test_what_will_not_pass_is_not_waited_for_and_can_be_asked_again(
    judge: StubJudge, clock: Clock, refusal: Refusal, problem: str, tmp_path: Path
) -> None:
    judge.refusals.append(refusal)
    ruling = PROTOCOL.rule_on({}, "yes")
    assert (ruling.verdict, ruling.problem) == (None, problem)
    assert len(judge.asked) == 1 and clock.pauses == []
    assert not (tmp_path / "cache").exists()
    assert PROTOCOL.rule_on({}, "yes").verdict == 1


def test_twenty_failures_in_a_row_end_all_waiting_and_one_reply_starts_it_again(
    judge: StubJudge, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    judge.status = 503
    for number in range(12):
        assert PROTOCOL.rule_on({}, f"yes {number}").problem == "HTTP 503 Service Unavailable"
    # Six calls of three attempts, one of two, and five of one.
    assert len(judge.asked) == 6 * 3 + 2 + 5 and clock.pauses == [2.0, 4.0] * 6 + [2.0]
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("lmms_")]
    assert len(warnings) == 2 and "20 times in a row" in "".join(warnings)
    assert "toy: an answer has no verdict (HTTP 503 Service Unavailable)" in "".join(warnings)
    judge.status = 200
    assert PROTOCOL.rule_on({}, "yes").verdict == 1
    judge.refusals.append(Refusal(500))
    assert PROTOCOL.rule_on({}, "oh yes").verdict == 1  # it is waited for again


def test_a_reply_without_content_is_empty_and_asked_for_once_more(
    judge: StubJudge, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge.reply = lambda prompt: None  # as of a judge whose thoughts took all its tokens
    ruling = PROTOCOL.rule_on({}, "yes")
    assert (ruling.problem, ruling.calls, clock.pauses) == ("the reply is empty", 2, [])
    with pytest.raises(UserError, match="more than 1024 tokens with LMMS_CAUSAL_JUDGE_MAX_TOKENS"):
        PROTOCOL.preflight()
    monkeypatch.setenv("LMMS_CAUSAL_JUDGE_MAX_TOKENS", "9000")
    PROTOCOL.rule_on({}, "yes")
    assert [request["max_tokens"] for request in judge.requests] == [1024] * 3 + [9000] * 2
    for given in ("0", "-1", "many"):
        monkeypatch.setenv("LMMS_CAUSAL_JUDGE_MAX_TOKENS", given)
        with pytest.raises(UserError, match=f"MAX_TOKENS={given} is no positive whole number"):
            PROTOCOL.preflight()


def test_an_answer_of_another_form_is_named(judge: StubJudge, clock: Clock) -> None:
    judge.refusals.extend([Refusal(200, body={"choices": []})] * 3)
    problem = PROTOCOL.rule_on({}, "yes").problem
    assert problem is not None and problem.startswith("the answer is no chat completion (Index")


@pytest.mark.parametrize("status, remedy", [(401, "correct "), (404, "correct MODEL_VERSION or ")])
def test_neither_messages_nor_records_hold_keys(
    judge: StubJudge, clock: Clock, status: int, remedy: str
) -> None:
    refusal = Refusal(status, body={"error": {"message": f"no {KEY}\nat {judge.url}?api-key=abc"}})
    judge.refusals.extend([refusal, refusal])
    with pytest.raises(UserError) as caught:
        PROTOCOL.preflight()
    record = PROTOCOL.record(PROTOCOL.rule_on({}, "yes"))
    assert record["problem"].endswith("no *** at " + judge.url + "?api-key=***")
    said = str(caught.value)
    assert f"; {remedy}" in said and "\n" not in said
    for text in (said, json.dumps(record)):
        assert KEY not in text and "pass-word" not in text and "abc" not in text


def test_credentials_are_looked_for_even_if_nobody_is_to_be_asked(
    judge: StubJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMMS_CAUSAL_JUDGE_PREFLIGHT", "0")
    judge.status = 503
    PROTOCOL.preflight()
    assert judge.asked == []
    for variable in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    judge_protocol._made.cache_clear()  # as in a new process
    for provider in ("openai", "azure"):
        monkeypatch.setenv("API_TYPE", provider)
        with pytest.raises(UserError, match=rf"\({provider}, .*; set (OPENAI|AZURE)_API_KEY"):
            PROTOCOL.preflight()


def test_a_server_that_is_not_there_is_named_with_what_to_do(
    judge: StubJudge, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_JUDGE_URL", "http://127.0.0.1:9/v1/chat/completions")
    monkeypatch.setenv("OPENAI_API_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9\).*Connection refused\); start the ser"):
        PROTOCOL.preflight()
    assert clock.pauses == []  # a run that cannot start says so at once


def test_threads_share_one_judge(judge: StubJudge) -> None:
    start = Barrier(8)

    def ask(number: int) -> int | None:
        start.wait()
        return PROTOCOL.rule_on({}, f"yes {number % 2}").verdict

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [1] * 8
    assert judge_protocol._made.cache_info().currsize == 1
    assert judge_protocol._made.cache_info().misses == 1


def test_a_verdict_written_after_a_crash_is_read(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    VerdictCache(path).put("one", {"reply": "é"})
    with path.open("a") as file:
        file.write('{"key": "cut off by a cra')
    VerdictCache(path).put("two", {"reply": "2"})
    VerdictCache(path).put("three", {"reply": "3"})
    found = VerdictCache(path)
    assert [found.get(key) for key in ("one", "two", "three")] == [
        {"reply": text} for text in ("é", "2", "3")
    ]
    assert len(path.read_text().splitlines()) == 4


def test_a_cache_that_cannot_be_read_or_written_costs_no_verdict(
    judge: StubJudge, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert PROTOCOL.rule_on({}, "yes").verdict == 1
    assert PROTOCOL.record(PROTOCOL.rule_on({}, "no"))["calls"] == 1


def test_seconds_and_dates_to_wait_until() -> None:
    def told(value: str | None) -> float | None:
        headers = {} if value is None else {"retry-after": value}
        error = Exception()
        error.response = SimpleNamespace(status_code=429, headers=headers)  # type: ignore[attr-defined]
        return judge_calls.seconds_told(error)

    now = datetime.now(timezone.utc)
    assert [told(value) for value in ("7", " 0 ", "1.5", "-3")] == [7, 0, 1.5, 0]
    assert [told(value) for value in (None, "", "soon")] == [None] * 3
    assert told(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0
    later = told(format_datetime(now + timedelta(days=1), usegmt=True))
    assert later is not None and 80_000 < later <= 86_400


def test_an_error_of_botocore_is_read_like_the_others() -> None:
    headers = {"retry-after": "9"}
    error = Exception("An error occurred (ThrottlingException)")
    error.response = {  # type: ignore[attr-defined]
        "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": headers}
    }
    assert judge_calls.status_of(error) == 429 and judge_calls.seconds_told(error) == 9
    assert judge_calls.may_pass(error)
    assert judge_calls.reason(error).startswith("HTTP 429 Too Many Requests: An error occurred (T")


def test_who_judged_tells_judges_apart_and_adds_up() -> None:
    def record(model: str | None, calls: int, cached: bool = False) -> dict[str, Any]:
        who = {} if model is None else {"model": model, "provider": "local", "host": "h"}
        judge = {**who, "served": model and f"{model}-1", "prompt": "1.0"}
        return {"judge": judge, "calls": calls, "cached": cached, "failed": model is None}

    records = [record("b", 2), None, record("a", 0, True), record("b", 1), record(None, 0)]
    assert who_judged(records) == (
        "a by local at h, prompt 1.0; b by local at h, prompt 1.0; no judge; "
        "served as a-1, b-1; 3 calls, 1 cached, 1 failed"
    )
