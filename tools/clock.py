"""The clinic's clock, for every time that a person reads."""

import os
from zoneinfo import ZoneInfo

VARIABLE = "CLINIC_TIME_ZONE"
USUAL = "America/Sao_Paulo"


def zone() -> ZoneInfo:
    """The time zone that `CLINIC_TIME_ZONE` names, as in the service; ends the command where there is none."""
    name = os.environ.get(VARIABLE) or USUAL
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise SystemExit(f"{VARIABLE} is no time zone: {USUAL} is one") from None
