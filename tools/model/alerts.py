"""The names of the alerts that the rule files have."""

from tools.base.files import Sources
from tools.base.words import OneOf
from tools.model.consumers import consumers


def names() -> list[str]:
    """All, in the order of the files."""
    return [one.name for one in consumers(Sources.of_disk()) if one.kind == "alert"]


ALERT = OneOf("alert", names)
