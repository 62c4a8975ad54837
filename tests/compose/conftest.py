"""The Compose files as Compose itself understands them; no engine is needed for that."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.stack.programs import ensure

ROOT = Path(__file__).parents[2]

Model = dict[str, Any]
Read = Callable[[dict[str, str]], Model]


def reader(*files: str) -> Read:
    """Reads the files, all profiles included, with these variables set and no others."""
    program = str(ensure("compose"))
    base = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}

    def config(variables: dict[str, str]) -> Model:
        named = [word for file in files for word in ("--file", file)]
        command = [program, "--env-file", os.devnull, *named, "--profile", "*", "config", "--format", "json"]
        run = subprocess.run(command, cwd=ROOT, env=base | variables, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        model: Model = json.loads(run.stdout)
        return model

    return config


@pytest.fixture(scope="session")
def read() -> Read:
    """Reads docker-compose.yaml."""
    return reader()


@pytest.fixture(scope="session")
def read_both() -> Read:
    """Reads docker-compose.scale.yaml laid over it."""
    return reader("docker-compose.yaml", "docker-compose.scale.yaml")


@pytest.fixture(scope="session")
def services(read: Read) -> dict[str, Model]:
    """What a plain `docker compose up` would start, by name, and the services of profiles."""
    found: dict[str, Model] = read({})["services"]
    return found
