"""The clinic's clock, for every time that a person reads."""

import os
from zoneinfo import ZoneInfo

VARIABLE = "CLINIC_TIME_ZONE"
USUAL = "America/Sao_Paulo"


def zone() -> ZoneInfo:
    """The time zone that `CLINIC_TIME_ZONE` names, as in the service.

    Raises:
        KeyError, ValueError, OSError: there is none of that name.
    """
    return ZoneInfo(os.environ.get(VARIABLE) or USUAL)
