"""Where the simulator finds the other parts: the environment first, then the stack that `make up` started."""

import os
from pathlib import Path

STACK_ENVIRONMENT = Path(__file__).resolve().parent.parent / ".state" / "service.env"


class SettingMissingError(Exception):
    """A setting without a default is nowhere; the text says what to do."""


def setting(name: str, default: str | None = None) -> str:
    """The value from the environment, the running stack or the default. Raises SettingMissingError."""
    value = os.environ.get(name) or _of_the_stack().get(name) or default
    if value is None:
        raise SettingMissingError(f"{name} is not set: start the stack with `make up`, or set it in the environment")
    return value


def _of_the_stack() -> dict[str, str]:
    try:
        lines = STACK_ENVIRONMENT.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for name, sign, value in (line.partition("=") for line in lines) if sign}
