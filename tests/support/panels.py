"""A panel for tests of the preview."""

from typing import Any

from tools.model.dashboard import Panel


def panel(type_: str = "timeseries", defaults: dict[str, Any] | None = None, **more: Any) -> Panel:
    """A panel of half the width."""
    config: dict[str, Any] = {"defaults": defaults or {}, "overrides": []}
    place = {"x": 0, "y": 0, "w": 12, "h": 9}
    return Panel({"id": 1, "type": type_, "title": "A panel", "gridPos": place, "fieldConfig": config} | more)
