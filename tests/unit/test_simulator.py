"""The simulator: what it sends is repeatable and true to Evolution, what it reports is what was answered."""

import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from app.conversation.lanes import classify
from app.conversation.message import NotUnderstoodError, parse
from app.observability.contract import contract
from simulator import console, load, settings
from simulator.__main__ import main
from simulator.load import send
from simulator.messages import CORPUS, KINDS, LANES, SHAPES, generate, stream
from tests.support.serving import serving

SECRET = "an invented secret"
NOW = 1_795_000_000
NOWHERE = "http://127.0.0.1:1"


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_a_longer_run_of_a_seed_begins_with_the_shorter_one() -> None:
    assert generate(7, 300, NOW)[:100] == generate(7, 100, NOW)


def test_seeds_share_no_message() -> None:
    assert not {one.message_id for one in generate(1, 1000)} & {one.message_id for one in generate(2, 1000)}


def test_a_hundred_deliveries_hold_each_kind_in_its_share() -> None:
    assert sum(KINDS.values()) == 100
    assert Counter(one.kind for one in generate(3, 500)) == {kind: 5 * share for kind, share in KINDS.items()}


def test_everyday_deliveries_hold_nothing_that_somebody_would_have_to_look_into() -> None:
    kinds = {one.kind for one in islice(stream(3, everyday=True), 500)}
    assert KINDS.keys() - kinds == {"new_kind", "broken"}


def test_deliveries_are_of_now() -> None:
    begun = int(time.time())
    for one in islice(stream(3), 200):
        if one.status == "success" and one.kind != "old":
            message = parse(one.body)
            assert message is not None
            assert message.sent_at is not None
            assert begun <= message.sent_at.timestamp() <= time.time()


def test_lanes_have_their_shares_and_those_are_of_the_contract() -> None:
    dealt = [one.lane for one in generate(11, 1000) if one.remembered and one.status == "success"]
    deck = sum(LANES.values())
    whole = len(dealt) // deck * deck
    assert Counter(dealt[:whole]) == {lane: whole // deck * share for lane, share in LANES.items()}
    assert LANES.keys() <= set(contract().lanes)


def test_a_duplicate_repeats_an_earlier_delivery_byte_for_byte() -> None:
    deliveries = generate(5, 500)
    for position, one in enumerate(deliveries):
        if one.kind == "duplicate":
            assert one.body in {earlier.body for earlier in deliveries[:position] if earlier.status == "success"}
            assert (one.lane, one.status) == ("none", "duplicate")


def test_patients_are_invented() -> None:
    for one in generate(9, 500):
        assert re.fullmatch(r"5500900\d{6}", one.number)
        assert set(re.findall(rb"(\d+)(?::12)?@s\.whatsapp\.net", one.body)) <= {one.number.encode(), b"5500900999999"}


@pytest.mark.parametrize(
    ("lane", "text"), [(lane, text) for lane, texts in CORPUS.items() for one in texts.values() for text in one]
)
def test_the_service_sorts_each_text_into_its_lane(lane: str, text: str) -> None:
    assert classify(text).name == lane


def test_the_service_reads_each_kind_as_it_is_meant() -> None:
    for one in generate(13, 400):
        if one.kind == "duplicate":
            continue
        if one.kept:
            with pytest.raises(NotUnderstoodError) as error:
                parse(one.body)
            assert error.value.is_new is (one.status == "ignored")
            continue
        message = parse(one.body)
        if one.status == "ignored":
            assert message is None, one.kind
        else:
            assert message is not None
            patient = one.lid if one.kind == "lid_alone" else one.number
            found = (message.patient, message.lid, message.message_id, bool(message.text))
            assert found == (patient, one.lid, one.message_id, one.remembered or not one.genuine)
            assert message.is_older_than(timedelta(hours=6)) is (one.kind == "old")


def test_the_shapes_are_as_many_as_the_world_has() -> None:
    found = Counter(shape["is"] for shape in SHAPES.values())
    assert found == {"words": 19, "thing": 3, "nothing": 9, "new": 1, "broken": 1, "stranger": 1, "duplicate": 1}


# --- what is reported ------------------------------------------------------------------------------------------------


class FakeService:
    """Answers webhooks as the service does, and Prometheus' queries with what it answered."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.seen: set[str] = set()
        self.unavailable = 0
        """So many requests are answered with 503 first."""
        self.others = 0
        """So many requests of others are counted meanwhile."""
        self.expected = {one.message_id.encode(): one for one in generate(7, 100) if one.kind != "duplicate"}
        self.app = FastAPI()
        self.app.post("/webhooks/evolution")(self.webhook)
        self.app.post("/webhooks/evolution/{event}")(self.webhook)
        self.app.get("/api/v1/query")(self.query)

    async def webhook(self, request: Request) -> JSONResponse:
        self.counted["faq", "success"] += self.others
        self.others = 0
        body = await request.body()
        one = next(one for message_id, one in self.expected.items() if message_id in body)
        if request.headers["x-webhook-secret"] != SECRET:
            return self._count("none", "rejected", 403)
        if self.unavailable:
            self.unavailable -= 1
            return self._count("none", "error", 503)
        if one.status == "success" and one.message_id in self.seen:
            return self._count("none", "duplicate", 200)
        self.seen.add(one.message_id)
        return self._count(one.lane, one.status, 422 if one.kind == "broken" else 200)

    def _count(self, lane: str, status: str, code: int) -> JSONResponse:
        self.counted[lane, status] += 1
        return JSONResponse({"status": status, "lane": lane} if code == 200 else {"error": "invented"}, code)

    async def query(self, query: str) -> dict[str, Any]:
        assert query.startswith("sum by (lane, status) (webhook_request")
        rows = [
            {"metric": {"lane": lane, "status": status}, "value": [0, str(number)]}
            for (lane, status), number in self.counted.items()
        ]
        return {"status": "success", "data": {"resultType": "vector", "result": rows}}


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


@pytest.fixture
def url(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(load, "FIRST_DELAY_SECONDS", 0.001)
    with serving(fake.app) as url:
        monkeypatch.setenv("SERVICE_URL", url)
        monkeypatch.setenv("PROMETHEUS_URL", url)
        monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
        yield url


def test_the_report_counts_what_was_answered(fake: FakeService, url: str) -> None:
    deliveries = generate(7, 100)
    report = send(deliveries, url, SECRET, rate=1000)
    assert report.answered == fake.counted == Counter((one.lane, one.status) for one in deliveries)
    assert (report.finished, report.retries, report.unanswered, len(report.latencies)) == (100, 0, 0, 100)


def test_a_503_is_sent_again_and_each_attempt_is_a_request(fake: FakeService, url: str) -> None:
    fake.unavailable = 12
    report = send(generate(7, 100), url, SECRET, rate=1000)
    assert report.answered == fake.counted
    assert (report.answered["none", "error"], report.answered.total(), report.retries) == (12, 112, 12)


def test_a_refusal_is_not_sent_again(fake: FakeService, url: str) -> None:
    report = send(generate(7, 100), url, "the wrong secret", rate=1000)
    assert report.answered == fake.counted == Counter({("none", "rejected"): 100})


def test_what_is_never_answered_is_given_up_after_ten_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "FIRST_DELAY_SECONDS", 0.0001)
    report = send(generate(7, 3), NOWHERE, SECRET, rate=1000)
    assert (report.finished, report.given_up, report.unanswered, report.retries) == (3, 3, 30, 27)
    assert not report.answered
    assert math.isnan(report.latency(0.5))


def test_an_address_that_is_no_webhook_is_told_apart(url: str) -> None:
    report = send(generate(7, 1), f"{url}/elsewhere", SECRET, rate=1000)
    assert report.answered == {("none", "HTTP 404"): 1}


def test_latencies_are_nearest_ranks() -> None:
    report = load.Report()
    report.latencies.extend(float(number) for number in range(100, 0, -1))
    assert [report.latency(quantile) for quantile in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]


# --- in the terminal -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("url")
def test_load_shows_that_sent_equals_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--messages", "100", "--rate", "1000", "--seed", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["lane", "status", "sent", "counted", "in", "the", "histogram"]
    expected = Counter((one.lane, one.status) for one in generate(7, 100))
    end = len(expected) + 1
    assert [line.split() for line in lines[1:end]] == [
        [*row, *[str(number)] * 3, "sent", "=", "counted"] for row, number in sorted(expected.items())
    ]
    assert re.fullmatch(r"100 messages in [\d.]+ s, seed 7", lines[end + 1])
    assert re.fullmatch(r"latency P50 [\d.]+ ms   P95 [\d.]+ ms   P99 [\d.]+ ms", lines[end + 2])
    assert re.fullmatch(r"sent = counted: 100 requests, [\d.]+ s after the last answer\.", lines[end + 3])


def test_load_shows_a_difference_and_fails(
    fake: FakeService, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "VERIFY_SECONDS", 0.0)
    fake.others = 3
    assert main(["load", "--messages", "100", "--rate", "1000", "--seed", "7", "--url", url]) == 1
    lines = capsys.readouterr().out.splitlines()
    counted = fake.counted["faq", "success"]
    row = ["faq", "success", str(counted - 3), str(counted), str(counted), "sent", "≠", "counted"]
    assert row in [line.split() for line in lines]
    rows = [line.split()[-2] for line in lines if line.endswith("counted")]
    assert (rows.count("≠"), rows.count("=")) == (1, len(fake.counted) - 1)
    assert lines[-2].startswith("sent ≠ counted: 100 sent, 103 and 103 counted")


@pytest.mark.usefixtures("url")
def test_a_quiet_load_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--messages", "10", "--rate", "1000", "--seed", "7", "--quiet", "--no-verify"]) == 0
    assert capsys.readouterr().out == "10 requests answered; what was counted is not compared.\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["load", "--rate", "0"],
            "simulator load: Invalid value for '--rate': '0' is not a number above 0 (see --help)\n",
        ),
        (
            ["load", "--messages", "-1"],
            "simulator load: Invalid value for '--messages': '-1' is not a whole number above 0 (see --help)\n",
        ),
        (
            ["load", "--seed", "x"],
            "simulator load: Invalid value for '--seed': 'x' is not a valid integer (see --help)\n",
        ),
        (
            ["load", "--message", "1"],
            "simulator load: No such option '--message'. Did you mean '--messages'? (see --help)\n",
        ),
        (["lod"], "simulator: No such command 'lod'. Did you mean 'load'? (see --help)\n"),
        ([], "simulator: Missing command (see --help)\n"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(arguments), capsys.readouterr().err) == (2, line)


def test_a_service_that_is_not_there_gets_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--no-verify", "--url", NOWHERE, "--secret", SECRET]) == 1
    line = f"simulator: no service at {NOWHERE} (ConnectError): start it with `make up`, or set --url\n"
    assert capsys.readouterr().err == line


def test_settings_come_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBHOOK_SECRET", raising=False)
    with pytest.raises(settings.SimulatorError, match=r"^WEBHOOK_SECRET is not set: `make load` sets it"):
        settings.setting("WEBHOOK_SECRET")
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    assert settings.setting("WEBHOOK_SECRET") == SECRET
