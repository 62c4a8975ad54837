"""Damage to the Collector's queue, as after a power loss: `make up` sets it aside, says so, and the Collector runs."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.base import otlp
from tools.base.errors import ToolError
from tools.base.wait import until
from tools.cli import run
from tools.stack import damaged_queue, stack
from tools.stack.ports import Ports
from tools.stack.stack import Stack

BBOLT = "go.etcd.io/bbolt.(*DB).Update(0xc0)\n\t/bbolt/db.go:1\n"
STARTED = "----- started otel-collector 2026-11-25 02:00:00\n"
PAGE = 4096
DICE = random.Random(11)


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "cut within a page": lambda data: data[:5000],
    "zeros": lambda data: bytes(len(data)),
    "no first pages": lambda data: bytes(2 * PAGE) + data[2 * PAGE :],
    "pages of zeros": lambda data: data[: 2 * PAGE] + bytes(58 * PAGE) + data[60 * PAGE :],
    "random bytes in the middle": lambda data: (
        data[: len(data) // 4] + DICE.randbytes(len(data) // 2) + data[len(data) * 3 // 4 :]
    ),
    "random bytes after the first pages": lambda data: data[: 2 * PAGE] + DICE.randbytes(len(data) - 2 * PAGE),
    "another file": lambda _: b"something else\n",
}


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A queue's file in which traces wait, after a crash."""
    made = Stack(tmp_path_factory.mktemp("filled"), Ports.free(), store="jaeger")
    made.start("otel-collector")
    file = made.folder / "otel-collector" / "queue" / "exporter_otlp_grpc__traces"
    endpoint = f"127.0.0.1:{made.ports.collector_grpc}"

    def filled() -> bool:
        otlp.send(endpoint, otlp.traces([otlp.Spec("message.process") for _ in range(512)]))
        return file.read_bytes().count(b"message.process") >= 20 * 512

    until(filled, "traces wait on disk")
    made.kill("otel-collector")
    data = file.read_bytes()
    made.remove()
    return data


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stack]:
    one = Stack(tmp_path / "state", Ports.free(), store="jaeger")
    (one.folder / "otel-collector" / "queue").mkdir(parents=True)
    yield one
    one.stop("otel-collector")  # one that died is waited for too
    one.remove()


def queue(made: Stack) -> Path:
    return made.folder / "otel-collector" / "queue" / "exporter_otlp_grpc__traces"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_queue_is_set_aside_and_the_collector_takes_spans(made: Stack, waiting: bytes, kind: str) -> None:
    damaged = KINDS[kind](waiting)
    queue(made).write_bytes(damaged)
    made.start("otel-collector")
    otlp.send(f"127.0.0.1:{made.ports.collector_grpc}", otlp.traces([otlp.Spec("message.process")]))
    [aside] = damaged_queue.damaged_queues(made.folder)
    assert (aside / queue(made).name).stat().st_size == len(damaged)
    assert f"The queue was damaged: set aside as {aside}\n" in made.log("otel-collector").read_text("utf-8")


def test_a_folder_in_the_files_place_is_set_aside_too(made: Stack) -> None:
    queue(made).mkdir()
    made.start("otel-collector")
    assert len(damaged_queue.damaged_queues(made.folder)) == 1


@pytest.mark.parametrize("kind", ["whole", "empty"])
def test_a_queue_that_can_be_read_stays(made: Stack, waiting: bytes, kind: str) -> None:
    queue(made).write_bytes(waiting if kind == "whole" else b"")
    made.start("otel-collector")
    assert damaged_queue.damaged_queues(made.folder) == []
    assert queue(made).stat().st_size >= (len(waiting) if kind == "whole" else 1)


def test_damage_is_counted_and_told_and_only_the_newest_are_kept(
    made: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        queue(made).write_bytes(b"something else\n")
        made.start("otel-collector")
        made.stop("otel-collector")
    kept = damaged_queue.damaged_queues(made.folder)
    assert [one.name for one in kept] == ["queue.damaged.2", "queue.damaged.3"]
    monkeypatch.setattr(stack, "STATE", made.folder)
    assert run(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Damaged queues of the Collector so far: 3. The traces that waited in them are lost, metrics are not. "
        f"The last is kept until you delete it: {kept[-1]}"
    )


def test_what_else_ends_the_collector_leaves_its_queue_alone(made: Stack, waiting: bytes) -> None:
    queue(made).write_bytes(waiting)
    with pytest.raises(ToolError, match=r"^otel-collector died\."):
        made.start("otel-collector", {"MEMORY_LIMIT_MIB": "none"})
    assert queue(made).read_bytes() == waiting


def test_two_collectors_on_one_queue_are_no_damage(made: Stack, tmp_path: Path) -> None:
    made.start("otel-collector")
    other = Stack(tmp_path / "other", Ports.free(), store="jaeger")
    with pytest.raises(ToolError, match=r"^otel-collector (died|was not ready)"):
        other.start("otel-collector", {"QUEUE_DIRECTORY": str(queue(made).parent)})
    other.stop("otel-collector")
    assert damaged_queue.damaged_queues(other.folder) == []
    assert queue(made).exists()


def test_a_queue_whose_damage_ended_an_earlier_run_is_set_aside_before_the_next(made: Stack) -> None:
    queue(made).write_bytes(b"")
    log = made.log("otel-collector")
    log.parent.mkdir()
    log.write_text(f"{STARTED}panic: page 7\n\ngoroutine 40 [running]:\nmain.a()\n\t/a.go:1\n{BBOLT}", "utf-8")
    made.start("otel-collector")
    assert len(damaged_queue.damaged_queues(made.folder)) == 1


@pytest.mark.parametrize(
    "log",
    [
        f"panic: something else\n\ngoroutine 1 [running]:\nmain.main()\n\t/main.go:1\n\ngoroutine 9 [select]:\n{BBOLT}",
        f"SIGQUIT: quit\n\ngoroutine 9 [select]:\n{BBOLT}",
        'cannot start pipelines: failed to start "otlp_grpc" exporter: timeout\n',
    ],
)
def test_another_end_with_the_queue_open_is_no_damage(made: Stack, log: str) -> None:
    made.log("otel-collector").parent.mkdir()
    made.log("otel-collector").write_text(STARTED + log, "utf-8")
    made.prepare("otel-collector")
    assert damaged_queue.damaged_queues(made.folder) == []
