"""The Collector's queue on disk, where a power loss damaged it."""

import re
import shutil
from pathlib import Path

from tools.stack.processes import log_file, this_run

QUEUES_KEPT = 2  # damaged ones; each can have 1 GiB
_ASIDE = "queue.damaged."
_DAMAGED = re.compile(  # bbolt in the stack of what panicked, not in a dump of all, or what it says of a file
    r"^(?:panic: |unexpected fault address )(?:[^\n]+\n)+\ngoroutine [^\n]+\n(?:[^\n]+\n)*?[^\n]*\bgo\.etcd\.io/bbolt"
    r"|exporter: (?:file size too small|invalid database|version mismatch|checksum error|.*: is a directory$)",
    re.MULTILINE,
)


def set_aside(folder: Path) -> None:
    """If the Collector's last run ended because of its queue's file, take the queue away; the newest two are kept.

    bbolt reads all pages at its start, and panics or refuses where one is damaged, by a power loss for instance; the
    extension's `recreate` does not catch it.
    """
    queue = folder / "otel-collector" / "queue"
    if not is_damaged(folder) or not queue.exists():
        return
    earlier = damaged_queues(folder)
    target = queue.with_name(f"{_ASIDE}{_number(earlier[-1]) + 1 if earlier else 1}")
    queue.rename(target)
    for old in earlier[: 1 - QUEUES_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    with log_file(folder, "otel-collector").open("a", encoding="utf-8") as log:
        log.write(f"The queue was damaged: set aside as {target}\n")


def is_damaged(folder: Path) -> bool:
    """Whether the last run ended because of it."""
    return bool(_DAMAGED.search(this_run(log_file(folder, "otel-collector"))))


def damaged_queues(folder: Path) -> list[Path]:
    """The Collector's damaged queues that are kept, oldest first; the number in the last one's name counts all."""
    return sorted((folder / "otel-collector").glob(f"{_ASIDE}*"), key=_number)


def _number(queue: Path) -> int:
    return int(queue.name.removeprefix(_ASIDE))
