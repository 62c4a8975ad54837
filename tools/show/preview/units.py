"""Values as Grafana writes them."""

import math

_SECONDS = (
    (1e-6, 1e-9, "ns"),
    (1e-3, 1e-6, "µs"),
    (1, 1e-3, "ms"),
    (60, 1, "s"),
    (3600, 60, "min"),
    (86400, 3600, "h"),
)
_SHORT = ((1e3, 1.0, ""), (1e6, 1e3, "K"), (1e9, 1e6, "Mil"), (math.inf, 1e9, "Bil"))
_BYTES = ((2**10, 1, "B"), (2**20, 2**10, "KiB"), (2**30, 2**20, "MiB"), (math.inf, 2**30, "GiB"))
_A_SECOND = {"reqps": "req/s", "ops": "ops/s", "cps": "c/s"}
_SUFFIX = "suffix:"


def formatted(value: float, unit: str | None, decimals: int | None = None) -> str:
    """With its unit; three digits where nothing says how many."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "percentunit":
        return f"{_digits(value * 100, decimals)}%"
    if unit == "s":
        return _scaled(value, _SECONDS, decimals, zero="s")
    if unit == "bytes":
        return _scaled(value, _BYTES, decimals)
    if unit is not None and unit.startswith(_SUFFIX):
        return f"{_digits(value, decimals)} {unit.removeprefix(_SUFFIX)}"
    number = _scaled(value, _SHORT, decimals)
    return f"{number} {_A_SECOND[unit]}" if unit in _A_SECOND else number


def _scaled(
    value: float, scale: tuple[tuple[float, float, str], ...], decimals: int | None, zero: str | None = None
) -> str:
    if value == 0 and zero is not None:
        return f"{_digits(0, decimals)} {zero}"
    divisor, suffix = next((divisor, suffix) for below, divisor, suffix in scale if abs(value) < below)
    return f"{_digits(value / divisor, decimals)} {suffix}".strip()


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
