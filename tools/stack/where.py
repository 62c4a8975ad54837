"""Where a part of the system is reached: the environment says it, else this clone's running stack. Never a stranger."""

import os
from urllib.parse import urlsplit

from tools.base.errors import ToolError
from tools.stack.ports import holder
from tools.stack.stack import this_clone


def where(name: str) -> str:
    """The address of a component, without a slash at its end; for `prometheus` it is in `PROMETHEUS_URL`, and so on.

    Raises ToolError: the environment does not say it, and this clone's does not run. What listens on its usual
    port then is another clone's.
    """
    variable = f"{name.upper()}_URL"
    if given := os.environ.get(variable):
        return given.rstrip("/")
    stack = this_clone()
    address = stack.url(name)
    if stack.pid(name) is None:
        other = holder(urlsplit(address).port or 0)
        stranger = f" Who answers at {address} is none of its: {other}." if other else ""
        raise ToolError(f"{name} of this clone is not running: make up, or set {variable}.{stranger}")
    return address
