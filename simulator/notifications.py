"""The local receiver of Alertmanager's notifications: what would reach Slack or a pager can be read here."""

import time
from collections import deque
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

KEPT = 1_000


class Alert(BaseModel, extra="allow"):
    """One alert of a notification, as far as it is looked at here."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str]


class Notification(BaseModel, extra="allow"):
    """What Alertmanager's `webhook_configs` post, version 4; all of it is kept."""

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    receiver: str
    alerts: list[Alert]


class Received:
    """The newest notifications, numbered from 1, and when the heartbeat was last heard (Unix seconds)."""

    def __init__(self) -> None:
        self.count = 0
        self.newest: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.heartbeat: float | None = None


def _received(request: Request) -> Received:
    received: Received = request.app.state.notifications
    return received


Kept = Annotated[Received, Depends(_received)]
router = APIRouter()


@router.post("/notifications", status_code=204)
async def notify(notification: Notification, received: Kept) -> None:
    """Keep one."""
    received.count += 1
    received.newest.append(
        {"number": received.count, "received": time.time(), "notification": notification.model_dump()}
    )


@router.get("/notifications")
async def notifications(received: Kept, after: int = 0) -> dict[str, Any]:
    """Those with a higher number, the oldest first, and the last heartbeat."""
    newer = [one for one in received.newest if one["number"] > after]
    return {"heartbeat": received.heartbeat, "notifications": newer}


@router.post("/heartbeat", status_code=204)
async def heartbeat(_: Notification, received: Kept) -> None:
    """The Watchdog's, once a minute: only the last one matters."""
    received.heartbeat = time.time()
