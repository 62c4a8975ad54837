"""What the simulator is told, all of it in the environment."""

import os


class SettingMissingError(Exception):
    """A setting is nowhere; the text says what to do."""


def setting(name: str) -> str:
    """The value from the environment. Raises SettingMissingError."""
    if value := os.environ.get(name):
        return value
    raise SettingMissingError(f"{name} is not set: `make load` sets it, for the running stack")
