"""What the simulator is told, all of it in the environment."""

import os


class SimulatorError(Exception):
    """Something is missing: a setting, the service, Prometheus; the text is a line that says what to do."""


def setting(name: str) -> str:
    """The value from the environment. Raises SimulatorError."""
    if value := os.environ.get(name):
        return value
    raise SimulatorError(f"{name} is not set: `make load` sets it, for the running stack")
