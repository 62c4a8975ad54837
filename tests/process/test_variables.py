"""Every environment variable that an installed package reads is meant, taken away, or known to do nothing."""

import os
import subprocess
import sys

from app import environment
from app.settings import Settings
from tests.support.variables import read_by_packages, table, taken_away
from tools.stack.programs import ROOT


def test_each_variable_that_a_package_reads_has_a_place() -> None:
    known = table().meant.keys() | table().harmless | table().not_read | table().composed
    found = read_by_packages().items()
    unknown = {name: sorted(of) for name, of in found if name not in known and not taken_away(name)}
    assert unknown == {}, "put each into tests/support/variables.yaml, or its family into app/environment.py"


def test_what_the_scan_must_find() -> None:
    found = read_by_packages()
    for name, package in {
        "OTEL_PROPAGATORS": "opentelemetry-api",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "opentelemetry-sdk",
        "FASTAPI_OTEL_AUTO_CONFIGURE": "fastapi",
        "PGHOST": "asyncpg",
        "OPENAI_LOG": "openai",
        "MEM0_TELEMETRY": "mem0ai",
        "WEB_CONCURRENCY": "uvicorn",
        "SSL_CERT_FILE": "httpx",
    }.items():
        assert package in found[name]


def test_what_is_kept_and_what_is_set_is_told_of() -> None:
    assert table().meant.keys() >= environment.KEPT
    readme = (ROOT / "service" / "README.md").read_text("utf-8")
    machine = {name for name, purpose in table().meant.items() if purpose in ("the machine", "the interpreter")}
    told = table().meant.keys() - machine | {name.upper() for name in Settings.model_fields}
    assert {name for name in told if f"`{name}`" not in readme} == set()


def test_the_packages_import_takes_away_what_is_not_meant_and_keeps_the_rest() -> None:
    given = {name: "kept" for name in table().meant if name not in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
    taken = {name: "x" for name in read_by_packages().keys() | table().composed if taken_away(name)}
    program = "import app, os; print(*sorted(os.environ))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=given | taken | {"PYTHONPATH": str(ROOT / "service"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    left = set(run.stdout.split())
    assert left & taken.keys() == environment.FIXED.keys() & taken.keys()
    assert given.keys() - left == set()
