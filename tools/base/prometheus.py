"""What Prometheus answers, as plain numbers and names. Times are Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from tools.base.errors import ToolError


class PrometheusError(ToolError):
    """Prometheus does not answer, or refuses a query; one line says which."""


@dataclass(frozen=True)
class Sample:
    """A series' value at one time."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """A series' values over some time, each with its time; where there is none, nothing stands."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Exemplar:
    """A measured event whose trace can be looked at, and the labels of its series."""

    labels: dict[str, str]
    time: float
    value: float
    trace_id: str


class Prometheus:
    """Asks one; each question waits `seconds` for its answer, and raises PrometheusError."""

    def __init__(self, url: str, seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(timeout=seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ask no more."""
        self._client.close()

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """Each series' value at a time, or now."""
        params: dict[str, str | float] = {"query": expression}
        if at is not None:
            params["time"] = at
        result = self._ask("query", params)["result"]
        return [Sample(one["metric"], float(one["value"][1])) for one in result if isinstance(one, dict)]

    def range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """Each series' values from time to time."""
        params: dict[str, str | float] = {"query": expression, "start": start, "end": end, "step": step}
        result = self._ask("query_range", params)["result"]
        return [Series(one["metric"], [(float(at), float(value)) for at, value in one["values"]]) for one in result]

    def exemplars(self, expression: str, start: float, end: float) -> list[Exemplar]:
        """Those of the series that a query reads, by time; without those that lead to no trace."""
        result = self._ask("query_exemplars", {"query": expression, "start": start, "end": end}) or []
        found = (
            Exemplar(
                one["seriesLabels"], float(each["timestamp"]), float(each["value"]), each["labels"].get("trace_id", "")
            )
            for one in result
            for each in one["exemplars"]
        )
        return sorted((one for one in found if one.trace_id), key=lambda one: one.time)

    def label_values(self, label: str, selector: str, start: float, end: float) -> list[str]:
        """The values of a label of the selected series."""
        return list(self._ask(f"label/{label}/values", {"match[]": selector, "start": start, "end": end}))

    def alerts(self) -> list[dict[str, Any]]:
        """The active ones: `labels`, and whether their `state` is `firing` or `pending`."""
        return list(self._ask("alerts")["alerts"])

    def rules(self) -> list[dict[str, Any]]:
        """All loaded rules."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, question: str, params: Mapping[str, str | float] | None = None) -> Any:
        try:
            response = self._client.get(f"{self.url}/api/v1/{question}", params=params)
            answer = response.json()
            if answer["status"] != "success":
                raise PrometheusError(f"Prometheus refuses {(params or {}).get('query', question)}: {answer['error']}")
            return answer["data"]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise PrometheusError(
                f"Prometheus at {self.url} does not answer ({type(error).__name__}): `make status`"
            ) from error
