"""A start that fails says why; `/health` and `/metrics` have an answer at any moment of a start and a stop."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.api import health, metrics_endpoint
from app.observability.lost_spans import LostSpans
from app.settings import Settings
from tests.support.backend import Backend
from tools.stack.processes import log_file
from tools.stack.programs import ROOT

SERVICE = ("uvicorn", "app.main:create_app", "--factory", "--port", "0")
WORKER = ("app.outbox.worker",)
SECRET = "a-word-that-nobody-may-read"


def last_words(backend: Backend, command: tuple[str, ...], variables: dict[str, str]) -> tuple[int, str]:
    """The status with which a process ends, and the last message of its log; no secret is in all of it."""
    environment = os.environ | backend.stack.service_environment() | variables
    run = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert SECRET not in run.stdout + run.stderr
    lines = [json.loads(line) for line in run.stderr.splitlines() if line.startswith("{")]
    told = [line["message"] for line in lines if line["level"] == "critical"] or [lines[-1]["message"]]
    return run.returncode, told[-1]


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no secret": ({"WEBHOOK_SECRET": ""}, "the start failed: Value error, set WEBHOOK_SECRET or WEBHOOK_JWT_KEY"),
    "no number": (
        {"DATABASE_POOL_SIZE": SECRET},
        "the start failed: DATABASE_POOL_SIZE Input should be a valid integer",
    ),
    "no PostgreSQL": (
        {"DATABASE_URL": f"mysql://u:{SECRET}@h/d"},
        "the start failed: DATABASE_URL Value error, must be a URL such as postgresql://user:password@host/name",
    ),
    "no Redis": (
        {"REDIS_URL": f"http://:{SECRET}@h"},
        "the start failed: REDIS_URL Value error, must be a URL such as redis://host:6379/0",
    ),
    "no level": (
        {"LOG_LEVEL": "loud"},
        "the start failed: LOG_LEVEL Input should be 'debug', 'info', 'warning', 'warn', 'error' or 'critical'",
    ),
    "no address": (
        {"EVOLUTION_API_URL": "evolution:8080"},
        "the start failed: EVOLUTION_API_URL Value error, must be a URL such as http://host:8080",
    ),
    "a proxy that can't be used": (
        {"OUTBOUND_PROXY": f"socks5://u:{SECRET}@h:1080"},
        "the start failed: OUTBOUND_PROXY Value error, must be a URL such as http://host:8080",
    ),
    "no Collector's address": (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "otel-collector:4317"},
        "the start failed: SettingError: OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://otel-collector:4317",
    ),
    "no protocol of ours": (
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        "the start failed: SettingError: OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf",
    ),
    "a mode that PostgreSQL does not have": (
        {"PGSSLMODE": "sometimes"},
        "the start failed: SettingError: DATABASE_URL or a PG… variable can't be used: ",
    ),
    "a port that is none": (
        {"DATABASE_URL": f"postgresql://u:{SECRET}@h:port/d"},
        "the start failed: DATABASE_URL Value error, must be a URL such as postgresql://user:password@host/name",
    ),
}


@pytest.mark.parametrize(("variables", "why"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named_and_its_value_is_not(backend: Backend, variables: dict[str, str], why: str) -> None:
    status, told = last_words(backend, SERVICE, variables)
    assert (status, told[: len(why)]) == (3, why)


@pytest.mark.parametrize("wrong", ["no number", "no Collector's address", "a mode that PostgreSQL does not have"])
def test_the_worker_says_why_too(backend: Backend, wrong: str) -> None:
    variables, why = WRONG[wrong]
    status, told = last_words(backend, WORKER, variables)
    assert (status, told[: len(why)]) == (3, why)


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///healthcare?host=/run/postgresql")
    monkeypatch.setenv("WEBHOOK_SECRET", "secret")
    expected = Settings()
    for name in Settings.model_fields.keys() - {"database_url", "webhook_secret"}:
        monkeypatch.setenv(name.upper(), "")
    assert Settings() == expected


def test_a_folder_that_mem0_cannot_have_is_named(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, told = last_words(backend, WORKER, {"MEM0_DIR": str(tmp_path / "file" / "mem0")})
    assert (status, told) == (
        3,
        f"the start failed: NotADirectoryError: [Errno 20] Not a directory: '{tmp_path}/file/mem0'",
    )


def test_a_port_in_use_is_named(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, told = last_words(backend, (*SERVICE[:-1], str(port)), {})
    assert status == 3
    assert "address already in use" in told
    assert str(port) in told


BROKEN = {  # what a module that the start needs says instead of working
    "a package that is missing": (
        "mem0",
        "raise ImportError('libpq.so.5: no such file')",
        "ImportError: libpq.so.5: no such file",
    ),
    "what may hold anything": ("mem0", f"raise RuntimeError('{SECRET}')", "RuntimeError at memory_job.py:"),
}


@pytest.mark.parametrize(("module", "does", "why"), BROKEN.values(), ids=BROKEN)
def test_words_are_told_of_the_machines_errors_only(
    backend: Backend, tmp_path: Path, module: str, does: str, why: str
) -> None:
    (tmp_path / f"{module}.py").write_text(does)
    path = os.pathsep.join((str(tmp_path), backend.stack.service_environment()["PYTHONPATH"]))
    status, told = last_words(backend, WORKER, {"PYTHONPATH": path})
    assert status == 3
    assert told.startswith(f"the start failed: {why}")


@pytest.mark.parametrize("command", [SERVICE, WORKER], ids=["service", "worker"])
def test_an_import_that_fails_at_once_is_told_too(backend: Backend, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "asyncpg.py").write_text("raise ImportError('libssl.so.3: no such file')")
    path = os.pathsep.join((str(tmp_path), backend.stack.service_environment()["PYTHONPATH"]))
    environment = os.environ | backend.stack.service_environment() | {"PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "ImportError: libssl.so.3: no such file"


CONTRACTS = {
    "is not there": (None, "FileNotFoundError: [Errno 2] No such file or directory: "),
    "is no YAML": ("metrics: [", "ParserError: while parsing"),
    "lacks its lists": ("{}", "KeyError at contract.py:"),
}


@pytest.mark.parametrize(("text", "why"), CONTRACTS.values(), ids=CONTRACTS)
def test_a_contract_that_cannot_be_read_is_told(backend: Backend, tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "metrics.yaml"
    if text is not None:
        file.write_text(text)
    program = tmp_path / "start_with_another_contract.py"
    program.write_text(
        "import pathlib\nfrom app.observability import contract\n"
        f"contract.PATH = pathlib.Path({str(file)!r})\nfrom app.main import create_app\ncreate_app()\n"
    )
    path = os.pathsep.join((str(tmp_path), backend.stack.service_environment()["PYTHONPATH"]))
    status, told = last_words(backend, (program.stem,), {"PYTHONPATH": path})
    assert status == 3
    assert told.startswith(f"the start failed: {why}")


# --- /health and /metrics ---


@pytest.fixture
def app() -> FastAPI:
    """The endpoints, before a start has done anything."""
    app = FastAPI()
    app.include_router(health.router)
    app.include_router(metrics_endpoint.router)
    app.state.phase = "starting"
    app.state.settings = Settings(database_url=SecretStr("postgresql://"), webhook_secret=SecretStr("x"))
    app.state.telemetry = SimpleNamespace(lost=LostSpans(), spool=SimpleNamespace(waiting_seconds=0.0))
    return app


async def ask(app: FastAPI, path: str) -> tuple[int, Any]:
    """Status and JSON."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.get(path)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("phase", ["starting", "stopping"])
async def test_before_and_after_serving_health_says_so(app: FastAPI, phase: str) -> None:
    app.state.phase = phase
    status, told = await ask(app, "/health")
    assert (status, told["status"], told["checks"]) == (503, phase, {})
    for path in ("/metrics", "/metrics/summary"):
        assert await ask(app, path) == (
            503,
            {"error": "the Collector can't be reached, so there are no metrics now"},
        )


async def test_a_client_that_was_closed_meanwhile_is_no_500(app: FastAPI) -> None:
    app.state.phase = "serving"
    app.state.http = httpx.AsyncClient(trust_env=False)
    await app.state.http.aclose()
    app.state.pool = _Closed()
    app.state.cache = _Closed()
    status, told = await ask(app, "/health")
    assert (status, told["status"], set(told["checks"].values())) == (503, "unavailable", {"down"})
    for path in ("/metrics", "/metrics/summary"):
        assert (await ask(app, path))[0] == 503


class _Closed:
    """A pool or a cache that was closed."""

    @property
    def client(self) -> "_Closed":
        return self

    async def fetchval(self, *_: object, **__: object) -> None:
        raise RuntimeError("closed")

    execute_command = fetchval


def test_health_without_the_schema_is_a_503_that_says_so(backend: Backend) -> None:
    backend.rows("alter table jobs rename to jobs_away")
    try:
        answer = backend.http.get(backend.url("/health"))
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert answer.json()["checks"]["postgresql"] == "without schema"
    finally:
        backend.rows("alter table jobs_away rename to jobs")
    assert backend.http.get(backend.url("/health")).status_code == 200


def test_what_is_no_exposition_is_a_collector_that_can_not_be_reached(backend: Backend) -> None:
    backend.stack.stop("service")
    backend.stack.start("service", {"COLLECTOR_METRICS_URL": f"{backend.stack.url('simulator')}/health"})
    try:
        assert backend.http.get(backend.url("/metrics/summary")).status_code == 503
    finally:
        backend.stack.stop("service")


def test_health_has_an_answer_at_any_moment_of_starts_and_stops(backend: Backend) -> None:
    """Asked without a pause: 200 or 503 with JSON, or nobody listens; never a 500, never a traceback."""
    seen: set[int] = set()
    problems: list[str] = []
    done = threading.Event()

    def ask_all_the_time() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not done.is_set():
                try:
                    answer = client.get(backend.url("/health"))
                except httpx.TransportError:
                    continue
                seen.add(answer.status_code)
                if answer.status_code not in (200, 503) or "status" not in answer.json():
                    problems.append(answer.text)

    askers = [threading.Thread(target=ask_all_the_time) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(3):
            backend.stack.stop("service")
            backend.stack.start("service")
    finally:
        done.set()
        for asker in askers:
            asker.join()
    assert problems == []
    assert seen <= {200, 503}
    log = log_file(backend.stack.folder, "service").read_text("utf-8")
    assert "Traceback" not in log
    assert '"error"' not in log.rpartition("----- started ")[2]
