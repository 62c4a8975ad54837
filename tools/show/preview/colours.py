"""Grafana's named colours in its dark theme."""

from collections.abc import Iterable

CANVAS, PANEL, GRID, TEXT, DIM = "#111217", "#181b1f", "#2c2f35", "#ccccdc", "#8e8f9c"
EXEMPLAR = "#ff4fd8"

_SHADES = ("super-light-", "light-", "", "semi-dark-", "dark-")
_HUES = {
    "red": ("#FFA6B0", "#FF7383", "#F2495C", "#E02F44", "#C4162A"),
    "orange": ("#FFCB7D", "#FFB357", "#FF9830", "#FF780A", "#FA6400"),
    "yellow": ("#FFF899", "#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400"),
    "green": ("#C8F2C2", "#96D98D", "#73BF69", "#56A64B", "#37872D"),
    "blue": ("#C0D8FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4"),
    "purple": ("#DEB6F2", "#CA95E5", "#B877D9", "#A352CC", "#8F3BB8"),
}
_NAMED = {shade + hue: value for hue, values in _HUES.items() for shade, value in zip(_SHADES, values, strict=True)} | {
    "text": TEXT,
    "transparent": "none",
}
_CLASSIC = (
    "green",
    "semi-dark-yellow",
    "light-blue",
    "semi-dark-orange",
    "red",
    "blue",
    "purple",
    "#705DA0",
    "dark-green",
    "yellow",
)


def colour(name: str) -> str:
    """What matplotlib takes: the colour of a name, and any #rrggbb as it is."""
    return _NAMED.get(name, name)


def classic(number: int) -> str:
    """The colour that the n-th series gets where none is fixed."""
    return colour(_CLASSIC[number % len(_CLASSIC)])


def of_value(value: float, steps: Iterable[tuple[float, str]]) -> str:
    """The colour of the last threshold that a value reaches."""
    reached = [name for above, name in steps if value >= above]
    return colour(reached[-1]) if reached else TEXT


def readable_on(background: str) -> str:
    """Black or white."""
    red, green, blue = (int(background[start : start + 2], 16) for start in (1, 3, 5))
    return "#111217" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "#ffffff"
