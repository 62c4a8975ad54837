"""What Prometheus answers to a dashboard's queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from tools.show.preview.dashboard import Json, PreviewError

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One answered series; NaN where it has no value."""

    labels: dict[str, str]
    values: Numbers


@dataclass(frozen=True)
class Exemplar:
    """A measured event whose trace can be looked at."""

    time: float
    value: float
    trace_id: str


class Prometheus:
    """Asks one; times are Unix seconds."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def now(self, expression: str, at: float) -> list[Series]:
        """Each series' value at a time. Raises PreviewError."""
        found = self._ask("query", {"query": expression, "time": at})["result"]
        return [Series(one["metric"], np.array([float(one["value"][1])])) for one in found]

    def over(self, expression: str, times: Sequence[int]) -> list[Series]:
        """Each series' values at these times, which are equally far apart. Raises PreviewError."""
        first, step = times[0], times[1] - times[0]
        params = {"query": expression, "start": first, "end": times[-1], "step": step}
        answered = []
        for one in self._ask("query_range", params)["result"]:
            values = np.full(len(times), np.nan)
            for at, value in one["values"]:
                values[round((float(at) - first) / step)] = float(value)
            answered.append(Series(one["metric"], values))
        return answered

    def exemplars(self, expression: str, start: float, end: float) -> list[Exemplar]:
        """Those of the series that a query reads, by time. Raises PreviewError."""
        found = self._ask("query_exemplars", {"query": expression, "start": start, "end": end}) or []
        return sorted(
            (
                Exemplar(float(one["timestamp"]), float(one["value"]), one["labels"]["trace_id"])
                for series in found
                for one in series["exemplars"]
                if "trace_id" in one["labels"]
            ),
            key=lambda exemplar: exemplar.time,
        )

    def _ask(self, what: str, params: Json) -> Any:
        try:
            answer = self._client.post(f"{self.url}/api/v1/{what}", data=params)
            content = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise PreviewError(
                f"Prometheus at {self.url} does not answer ({type(error).__name__}): `make up` first, "
                "or `make preview FROM=day`"
            ) from error
        if content.get("status") != "success":
            raise PreviewError(f"Prometheus refuses {params['query']}: {content.get('error', answer.status_code)}")
        return content["data"]
