"""The programs that the tests of this folder share, and the account of what was searched."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.collector.bench import Bench
from tests.leaks.canaries import Canary, forms
from tools.base.otlp_sink import Sink
from tools.replay.collector import Collector


class Account:
    """What was planted and searched, told at the end of the run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, canaries: Sequence[Canary], *, inputs: int, outputs: Mapping[str, bytes]) -> None:
        """Note a search that found nothing."""
        size = sum(map(len, outputs.values())) / 1e6
        self.lines.append(
            f"{where}: {len(canaries)} canaries in {inputs} inputs, searched in {forms(canaries)} forms"
            f" in {len(outputs)} outputs ({size:.1f} MB): 0 hits"
        )


_ACCOUNT = Account()


@pytest.fixture
def account() -> Account:
    """Of the whole run."""
    return _ACCOUNT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was searched."""
    for line in _ACCOUNT.lines:
        terminalreporter.write_line(f"leaks: {line}")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The real Collector with the shipped YAML, and a store behind it that records."""
    with Sink().listening() as store:
        collector = Collector(tmp_path_factory.mktemp("collector"), store.endpoint)
        with collector.running():
            yield Bench(collector, store)
