"""What is wrong with the service, by its derived series: errors, cache, memories, replies, what is sent to it."""

import math
from collections.abc import Iterator, Mapping

from tools.why.compare import Change, Comparison
from tools.why.finding import Finding, a_second, number, percent, row, took

EVENTS = 5  # fewer are chance
SHARE = 0.01  # of the requests: fewer errors are usual
WHO = {
    "database": "PostgreSQL",
    "hydration": "PostgreSQL",
    "outbox": "PostgreSQL",
    "cache": "Redis",
    "idempotency": "Redis",
    "reply": "Evolution",
    "mem0": "mem0",
    "llm": "the language model",
}
"""Behind a component of `errors_total` that stands for somebody else."""


def _events(change: Change, now: Comparison) -> float:
    return change.during * now.during.seconds


def _total(changes: Mapping[str, Change]) -> Change:
    return Change(sum(one.before for one in changes.values()), sum(one.during for one in changes.values()))


def errors(now: Comparison, component: str = "") -> Iterator[Finding]:
    """Errors that became more, the most frequent first."""
    selector = f'errors_total{{component="{component}"}}' if component else "errors_total"
    found = now.rates(selector, "component", "error_type")
    requests = now.rate("webhook_requests_total")
    more = {
        name: one
        for name, one in found.items()
        if one.more > 0
        and (now.alerted or (_events(one, now) >= EVENTS and one.rose(3) and one.more >= SHARE * requests.during))
    }
    if not more:
        return
    order = sorted(more, key=lambda name: more[name].more, reverse=True)
    first, change = order[0], more[order[0]]
    kind, _, error = first.partition("/")
    share = change.more / sum(one.more for one in more.values())
    sentence = (
        f"{WHO.get(kind, 'The service itself')} fails: errors of component `{kind}`, type `{error}`, went from"
        f" {a_second(change.before)} to {a_second(change.during)}, {share:.0%} of those that were added"
    )
    yield Finding(sentence, tuple(row(f"errors, `{name}`", more[name], a_second) for name in order[:5]))


def cache(now: Comparison) -> Iterator[Finding]:
    """Look-ups that miss: Redis fails, was emptied, or is asked for what was never there."""
    hits, misses = now.rates("cache_hits_total", "cache_type"), now.rates("cache_misses_total", "cache_type")
    shares = {
        kind: Change(*(_share(hits, misses, kind, when) for when in ("before", "during")))
        for kind in {**hits, **misses}
    }
    whole = Change(*(_share(hits, misses, "", when) for when in ("before", "during")))
    lookups = sum(_events(one, now) for one in (*hits.values(), *misses.values()))
    if not now.alerted and (lookups < 10 * EVENTS or whole.during >= 0.8 or whole.during > whole.before - 0.1):
        return
    rows = [row(f"hit rate, `{kind}`", change, percent) for kind, change in sorted(shares.items())]
    failing = [one for component in ("cache", "idempotency") for one in errors(now, component)]
    went = f"the cache's hit rate went from {percent(whole.before)} to {percent(whole.during)}"
    if failing:
        yield Finding(f"Redis fails, so {went}", (*rows, *failing[0].rows))
    elif all(change.during < 0.5 for change in shares.values()):
        yield Finding(f"Redis answers and is empty (restarted, or full), so {went}", tuple(rows))
    else:
        kinds = ", ".join(f"`{kind}`" for kind, change in shares.items() if change.during < 0.8)
        yield Finding(
            f"Redis answers and holds no {kinds} for who writes: patients who are new, or who wrote long ago; {went}",
            tuple(rows),
        )


def _share(hits: dict[str, Change], misses: dict[str, Change], kind: str, when: str) -> float:
    """Of look-ups that hit; of all kinds if none is named."""
    of = [sum(getattr(one, when) for name, one in found.items() if kind in ("", name)) for found in (hits, misses)]
    return of[0] / sum(of) if sum(of) else math.nan


def memories(now: Comparison) -> Iterator[Finding]:
    """Memories that are not written: nobody tries, attempts fail, or more come than go."""
    queue = now.change("sum(max_over_time(mem0_write_queue_size[window]))")
    tried = now.rate("mem0_writes_total")
    failed = now.rate('mem0_writes_total{status!="success"}')
    duration = now.p95("mem0_write_duration_seconds").get("", Change(math.nan, math.nan))
    rows = (
        row("memories that wait, at most", queue, number),
        row("attempts to write one", tried, a_second),
        row("attempts that fail", failed, a_second),
        row("P95 of an attempt", duration, took),
    )
    if queue.during > EVENTS and _events(tried, now) < 0.1 * queue.during:
        yield Finding(
            f"The worker does nothing: {queue.during:.0f} memories wait, and {_events(tried, now):.0f} were tried", rows
        )
    elif _events(failed, now) >= EVENTS and failed.during > 0.1 * tried.during:
        kinds = now.rates('errors_total{component="mem0"}', "error_type")
        worst = max(kinds, key=lambda kind: kinds[kind].during, default="unknown")
        yield Finding(
            f"mem0 fails: {failed.during / tried.during:.0%} of the attempts to write a memory do, most with `{worst}`"
            f" ({_mem0(worst)})",
            rows,
        )
    elif now.alerted or (queue.during > 100 and queue.rose(2)):
        yield Finding(
            f"More memories come than the worker writes: {queue.during:.0f} wait, P95 of an attempt is"
            f" {took(duration.during)}",
            rows,
        )


def _mem0(error: str) -> str:
    return "its tables in PostgreSQL" if error == "constraint" else "what makes its embeddings, or its database"


def replies(now: Comparison) -> Iterator[Finding]:
    """Replies that are not sent."""
    tried = now.rate("reply_sends_total")
    failed = now.rate('reply_sends_total{status!="success"}')
    dead = now.rate('reply_sends_total{status="dead"}')
    few = _events(dead, now) < 1 and (_events(failed, now) < EVENTS or failed.during < 0.1 * tried.during)
    if not failed.during or (few and not now.alerted):
        return
    kinds = now.rates('errors_total{component="reply"}', "error_type")
    worst = max(kinds, key=lambda kind: kinds[kind].during, default="unknown")
    given_up = f", {_events(dead, now):.0f} were given up" if _events(dead, now) >= 1 else ""
    yield Finding(
        f"Evolution does not send: {failed.during / tried.during:.0%} of the attempts to reply fail, most with"
        f" `{worst}`{given_up}",
        (
            row("attempts to send a reply", tried, a_second),
            row("attempts that fail", failed, a_second),
            row("given up", dead, a_second),
        ),
    )


def kept(now: Comparison) -> Iterator[Finding]:
    """Deliveries that nobody understands."""
    found = now.changes("sum by (status) (increase(deliveries_kept_total[window]))", "status")
    some = {status: change for status, change in found.items() if change.during >= 0.5}
    if some:
        total = sum(change.during for change in some.values())
        yield Finding(
            f"Evolution delivers what nobody here understands: {total:.0f} kept ({', '.join(some)}), `make dead` lists"
            " them by reason",
            tuple(row(f"deliveries kept, `{status}`", change, number) for status, change in some.items()),
        )


def traffic(now: Comparison) -> Iterator[Finding]:
    """What is sent to us became something else."""
    requests = now.rates("webhook_requests_total", "status")
    total = _total(requests)
    rows = [row("requests", total, a_second)]
    rows += [row(f"requests, `{status}`", one, a_second) for status, one in sorted(requests.items()) if one.more]
    if not total.during:
        return
    most = max(requests, key=lambda status: requests[status].during)
    share = requests[most].during / total.during
    if now.alerted or total.during > 100 or (most == "rejected" and share > 0.5 and _events(total, now) >= 10):
        who = "Strangers, or an Evolution with another secret, send" if most == "rejected" else "Evolution sends"
        yield Finding(
            f"{who} {a_second(total.during)} requests instead of {a_second(total.before)}, {share:.0%} of them"
            f" `{most}`",
            tuple(rows),
        )


def duplicates(now: Comparison) -> Iterator[Finding]:
    """The same messages come again."""
    again = now.rate("duplicate_messages_total")
    if again.more > 0 and (now.alerted or (again.during > 0.5 and again.rose(3))):
        yield Finding(
            f"Evolution delivers messages again: {a_second(again.during)} instead of {a_second(again.before)} were"
            " handled before",
            (row("deliveries of known messages", again, a_second),),
        )


def lanes(now: Comparison) -> Iterator[Finding]:
    """Patients ask for other things."""
    found = now.rates("lane_classification_total", "lane")
    total = _total(found)
    if not total.during:
        return
    shares = {
        lane: Change(*(getattr(one, when) / (getattr(total, when) or math.nan) for when in ("before", "during")))
        for lane, one in found.items()
    }
    slow = max(shares, key=lambda lane: shares[lane].during)
    if now.alerted or (slow == "complex" and shares[slow].during > 0.5 and shares[slow].rose(1.5)):
        yield Finding(
            f"Patients ask {'what only a person can answer' if slow == 'complex' else 'other things'}:"
            f" {percent(shares[slow].during)} of the messages are sorted into `{slow}`, {percent(shares[slow].before)}"
            " before",
            tuple(row(f"lane `{lane}`", change, percent) for lane, change in sorted(shares.items())),
        )


def silence(now: Comparison) -> Iterator[Finding]:
    """Nobody writes, though the service tells of itself."""
    requests = now.rate("webhook_requests_total")
    alive = now.change("count(last_over_time(mem0_write_queue_size[window]))")
    if requests.during < 0.01 and alive.during:
        yield Finding(
            f"Evolution delivers hardly anything: {a_second(requests.during)} requests instead of"
            f" {a_second(requests.before)}, while the service is alive and tells of itself",
            (row("requests", requests, a_second), row("processes that tell of themselves", alive, number)),
        )
