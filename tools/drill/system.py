"""What a drill asks of a running stack: of `tools.stack.stack`, processes, or of `tools.stack.containers`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tools.stack.ports import Ports


class System(Protocol):
    """A stack that can be broken, and mended."""

    folder: Path
    """For what a drill writes down."""
    ports: Ports
    names: tuple[str, ...]
    """Its components, in the order in which they are stopped."""
    store: str
    receivers: Path | None
    listens: str
    """Where something of ours listens for its components."""
    reached_as: str
    """By which name they find this machine."""
    how_to_start: str

    def state(self, name: str) -> str:
        """`running`, or what else."""

    def url(self, name: str) -> str:
        """Where a component is reached from here."""

    def service_environment(self) -> dict[str, str]:
        """The service's settings."""

    def make_folder(self) -> None:
        """Make `folder`, if it is not there."""

    def stop(self, name: str) -> None:
        """Stop a component; nothing if it does not run."""

    def start(self, name: str, environment: Mapping[str, str] | None = None, *, arguments: Sequence[str] = ()) -> None:
        """Start a component if it does not run, with these added to its own; wait until it is ready."""

    def pause(self, name: str) -> None:
        """Stop a component where it stands."""

    def wake(self, name: str) -> None:
        """Let it go on."""

    def execute(self, *statements: str) -> None:
        """Run SQL in the database."""

    def prepare(self, name: str) -> None:
        """Write the shipped configuration of Prometheus or Alertmanager where they load it."""

    def reload(self, name: str) -> None:
        """Let them load it. Raises httpx.HTTPStatusError."""

    def settle(self) -> None:
        """Both, for both: everything is configured as shipped."""
