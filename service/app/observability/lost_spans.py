"""Spans that did not reach the Collector are counted."""

import logging
import threading
import time
from collections import Counter

log = logging.getLogger(__name__)

_LOG_EVERY_SECONDS = 60.0


class LostSpans:
    """Counts the spans that could not be delivered, by reason, and says so in the log at most once a minute."""

    REASONS = ("queue_full", "buffer_full", "refused", "shutdown")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.RLock()  # a signal's handler may flush while this thread counts
        self._logged_at = float("-inf")

    def add(self, reason: str, spans: int) -> None:
        """Count `spans` lost for one of REASONS."""
        if spans <= 0:  # a counter never goes back
            return
        with self._lock:
            self._counts[reason] += spans
            due = time.monotonic() - self._logged_at > _LOG_EVERY_SECONDS
            if due:
                self._logged_at = time.monotonic()
        if due:
            log.warning("spans lost so far: %s", self.by_reason())

    def by_reason(self) -> dict[str, int]:
        """Lost spans since the start, every reason present."""
        with self._lock:
            return {reason: self._counts[reason] for reason in self.REASONS}
