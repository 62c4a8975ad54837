"""What two versions of rules and routes do differently, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from tools.base.files import Sources
from tools.check.consumers import knows_what_is_asked
from tools.history.backtest import ALERTMANAGER, Behaviour, Evaluation, run
from tools.history.choice import History
from tools.model.consumers import RULES, Consumer, affected, consumers
from tools.model.repository import Repository
from tools.plan.changes import AlertChange, Change, Effect, Plan, Severity, altered
from tools.stack.programs import Report

AGAIN = ", again"  # a second rule of the same name
SHOWN = 6  # times of one alert that are listed
_NONE = Behaviour()

RulesByName = dict[str, dict[str, Any]]
"""By kind and name, as people speak of them."""


def judge(plan: Plan, base: Sources, edit: Sources, history: History, report: Report = lambda _: None) -> None:
    """Evaluate both over the history, and add to the plan what differs.

    Raises:
        CannotRunError: Prometheus or Alertmanager refuses a file, or the history cannot be read.
        ToolError: the backtest cannot be built.
        SourceError: a file cannot be read.
    """
    before, after = run((base, edit), history, report)
    plan.history, plan.start, plan.end = history.name, after.start, after.end
    plan.utc_offset = history.utc_offset(after.start)
    rules = (_rules(base), _rules(edit))
    written = list(altered("rules", *rules))
    plan.changes += written
    plan.changes += altered("routes", _routes(base), _routes(edit))
    plan.alerts = list(_alerts(rules, (before, after)))
    for one in plan.alerts:
        plan.changes += _behaves(one, history)
    plan.changes += _told(before, after)
    plan.changes += [Change("rules", "broken", "evaluation", words) for words in after.failed]
    plan.changes += _against_the_contract(base, edit)
    plan.effects += _touched(edit, {change.subject.partition(".")[0] for change in written})
    plan.effects += _linked(rules)


def _rules(sources: Sources) -> RulesByName:
    found: RulesByName = {}
    for path in sources.matching(*RULES):
        for group in sources.yaml(path).data.get("groups") or []:
            for rule in group.get("rules") or []:
                said = {key: value for key, value in rule.items() if key not in ("alert", "record")}
                said["expr"] = " ".join(str(rule.get("expr", "")).split())
                for key in ("interval", "limit", "query_offset"):
                    if key in group:
                        said[f"group's {key}"] = group[key]
                found[_called(rule, found)] = said
    return found


def _called(rule: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    if "alert" in rule:
        name = f"alert {rule['alert']}"
    else:
        labels = ", ".join(f"{label}={value}" for label, value in rule.get("labels", {}).items())
        name = f"{rule['record']}{{{labels}}}" if labels else str(rule["record"])
    while name in taken:
        name += AGAIN
    return name


def _routes(sources: Sources) -> Any:
    return sources.yaml(ALERTMANAGER).data if ALERTMANAGER in sources.paths else {}


def _alerts(rules: tuple[RulesByName, RulesByName], outcomes: tuple[Evaluation, Evaluation]) -> Iterator[AlertChange]:
    """Those that are written or behave differently; in the order of the files, gone ones last."""
    names = [name for name in {**rules[1], **rules[0]} if name.startswith("alert ")]
    for alert in dict.fromkeys(name.removeprefix("alert ").replace(AGAIN, "") for name in names):
        said = [[rule for name, rule in side.items() if name.replace(AGAIN, "") == f"alert {alert}"] for side in rules]
        before, after = (
            outcome.behaviour(alert) if side else None for side, outcome in zip(said, outcomes, strict=True)
        )
        if said[0] != said[1] or before != after:
            severity = (said[1] or said[0])[0].get("labels", {}).get("severity", "none")
            yield AlertChange(alert, str(severity), before, after)


def _behaves(one: AlertChange, history: History) -> Iterator[Change]:
    """What an alert does differently."""
    before, after = one.before or _NONE, one.after or _NONE
    if (before.firings, before.seconds) != (after.firings, after.seconds):
        yield Change(
            "firings", _fate(before.firings, after.firings), one.alert, f"fires {_often(before)} → {_often(after)}"
        )
    moved = [(old, new) for old in before.times for new in after.times if old != new and _overlap(old, new)]
    lost = [old for old in before.times if not any(_overlap(old, new) for new in after.times)]
    more = [new for new in after.times if not any(_overlap(new, old) for old in before.times)]
    if moved:
        pairs = [f"{_time(old, history)} → {_time(new, history)}" for old, new in moved]
        yield Change("firings", "changed", one.alert, _listed(pairs))
    if lost:
        yield Change("firings", "gone", one.alert, "no more: " + _listed([_time(span, history) for span in lost]))
    if more:
        yield Change("firings", "new", one.alert, "now too: " + _listed([_time(span, history) for span in more]))
    if before.flaps != after.flaps:
        text = f"fires again within an hour: {before.flaps} → {_times(after.flaps)}"
        yield Change("firings", "changed", one.alert, text)
    if before.inhibited != after.inhibited:
        text = f"held back by another alert: {how_long(before.inhibited)} → {how_long(after.inhibited)}"
        yield Change("firings", "changed", one.alert, text)
    if before.held_back != after.held_back:
        text = f"held back outside of: {_named(before.held_back)} → {_named(after.held_back)}"
        yield Change("firings", "changed", one.alert, text)


def _told(before: Evaluation, after: Evaluation) -> Iterator[Change]:
    """Receiver by receiver: how many notifications, and of which alerts more or fewer."""
    counts: list[dict[str, dict[str, int]]] = []
    totals: list[dict[str, int]] = []
    for outcome in (before, after):
        by_alert: dict[str, dict[str, int]] = {}
        total: dict[str, int] = {}
        for one in outcome.notifications:
            total[one.receiver] = total.get(one.receiver, 0) + 1
            for alert in one.alerts:
                by_alert.setdefault(one.receiver, {})
                by_alert[one.receiver][alert] = by_alert[one.receiver].get(alert, 0) + 1
        counts.append(by_alert)
        totals.append(total)
    for receiver in sorted({*totals[0], *totals[1]}):
        old, new = (side.get(receiver, {}) for side in counts)
        shifts = {alert: new.get(alert, 0) - old.get(alert, 0) for alert in sorted({*old, *new})}
        words = [f"{alert} {shift:+}" for alert, shift in shifts.items() if shift]
        if words:
            numbers = [side.get(receiver, 0) for side in totals]
            text = f"{numbers[0]} → {_many(numbers[1], 'notification')}: {', '.join(words)}"
            yield Change("notifications", _fate(*numbers), receiver, text)


def _against_the_contract(base: Sources, edit: Sources) -> Iterator[Change]:
    """What the edit asks for and the contract does not have; what the base did wrong already is not its fault."""
    known = {finding.text for finding in knows_what_is_asked(Repository(base))}
    for finding in knows_what_is_asked(Repository(edit)):
        if finding.text not in known:
            yield Change("contract", "broken", f"{finding.file}:{finding.line}", finding.text)


def _touched(edit: Sources, written: set[str]) -> Iterator[Effect]:
    """Who reads what an edited rule records, through other rules too."""
    found = consumers(edit)
    records = {name.partition("{")[0] for name in written if not name.startswith("alert ")}
    behind = affected(found, records)
    for one in found:
        through = sorted(set().union(*(behind.get(use.sample, set()) for use in one.uses)))
        if through:
            yield Effect(str(one), _place(one), "is touched", tuple(through))


def _linked(rules: tuple[RulesByName, RulesByName]) -> Iterator[Effect]:
    """The panels of alerts whose expression was edited: they draw its threshold."""
    for name, said in rules[1].items():
        before = rules[0].get(name, {})
        if before and before["expr"] != said["expr"] and "dashboard_url" in said.get("annotations", {}):
            yield Effect(f"the panel of {name}", said["annotations"]["dashboard_url"], "is touched")


def _place(one: Consumer) -> str:
    return f"{one.file}:{one.line}"


def _fate(before: int, after: int) -> Severity:
    if not before:
        return "new"
    return "changed" if after else "gone"


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _often(one: Behaviour) -> str:
    return f"{_times(one.firings)}, {how_long(one.seconds)}" if one.firings else "never"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _named(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _listed(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + f", and {more} more" * (more > 0)


def _time(span: tuple[int, int], history: History) -> str:
    return f"{history.clock(span[0])}–{history.clock(span[1])}"


def how_long(seconds: int) -> str:
    """Seconds as people say them."""
    if 0 < seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
