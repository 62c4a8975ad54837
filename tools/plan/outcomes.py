"""What two versions of the Collector's YAML do differently, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.model.collector_yaml import VARIABLE, CollectorYaml
from tools.model.consumers import Consumer, Use
from tools.model.contract import Contract, Metric
from tools.model.expected import Labels, Samples, undocumented
from tools.plan.changes import Change, Effect, Fate, Severity, altered
from tools.replay.version import Replayed, Stored

NOISE = 1.25  # a cost ratio within it is none: two runs of the very same YAML differ by a tenth on a busy machine


def configuration(base: CollectorYaml, edit: CollectorYaml) -> Iterator[Change]:
    """The effective configuration, with every variable at its default: what was added, taken away or altered."""
    yield from altered("configuration", _effective(base), _effective(edit))


def _effective(yaml: CollectorYaml) -> Any:
    def replaced(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(key): replaced(item) for key, item in part.items()}
        if isinstance(part, list):
            return [replaced(item) for item in part]
        if isinstance(part, str):
            return VARIABLE.sub(lambda match: match["rest"].removeprefix(":-"), part)
        return part

    return replaced(yaml.document.data)


def metrics(base: Replayed, edit: Replayed, contracts: tuple[Contract, Contract]) -> Iterator[Change]:
    """Metric by metric: gone, renamed, new; labels, their values, buckets, counts, help, exemplars."""
    shapes = [_shapes(outcome, contract) for outcome, contract in zip((base, edit), contracts, strict=True)]
    before, after = shapes
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    for name in gone:
        renamed = next((other for other in new if after[other].totals == before[name].totals), None)
        if renamed:
            new.remove(renamed)
            yield Change("metrics", "gone", name, f"is renamed to {renamed}")
        else:
            yield Change("metrics", "gone", name, f"is gone ({before[name].described})")
    for name in new:
        yield Change("metrics", "new", name, f"is new: {after[name].described}")
    for name in (name for name in before if name in after):
        for severity, text in _metric(before[name], after[name]):
            yield Change("metrics", severity, name, text)


@dataclass
class _Shape:
    """One metric as it came out."""

    type: str
    help: str
    values: dict[str, set[str]]
    """Of each label."""
    series: set[Labels]
    totals: tuple[float, ...]
    """The sorted values of all series, which tell a renamed metric."""
    count: float
    edges: list[str]
    below: dict[str, float]
    exemplars: bool

    @property
    def described(self) -> str:
        """In short."""
        labels = f" by {', '.join(sorted(self.values))}" if self.values else ""
        return f"{self.type}{labels}, {len(self.series)} series, {self.count:g} counted"


def _shapes(outcome: Replayed, contract: Contract) -> dict[str, _Shape]:
    """Of all metrics in an exposition, also those that no contract knows."""
    shapes: dict[str, _Shape] = {}
    for name, (kind, text) in outcome.meaning.items():
        count = f"{name}_count" if kind == "histogram" else name
        series = {labels: number for (sample, labels), number in outcome.samples.items() if sample == count}
        buckets = {labels: number for (sample, labels), number in outcome.samples.items() if sample == f"{name}_bucket"}
        below: dict[str, float] = {}
        for labels, number in buckets.items():
            edge = dict(labels)["le"]
            below[edge] = below.get(edge, 0) + number
        values: dict[str, set[str]] = {}
        for labels in series:
            for label, value in labels:
                if label not in ("job", "instance"):
                    values.setdefault(label, set()).add(value)
        if series:
            shapes[name] = _Shape(
                kind,
                text,
                values,
                set(series),
                tuple(sorted(series.values())),
                sum(series.values()),
                outcome.edges.get(name, []),
                below,
                name in outcome.exemplars,
            )
    order = list(contract.by_name)
    return dict(sorted(shapes.items(), key=lambda item: (order.index(item[0]) if item[0] in order else 99, item[0])))


def _metric(before: _Shape, after: _Shape) -> Iterator[tuple[Severity, str]]:
    if before.type != after.type:
        yield "changed", f"is a {after.type}, was a {before.type}"
    yield from _labels(before, after)
    if before.edges != after.edges:
        lost, won = ([edge for edge in one if edge not in two] for one, two in _both(before.edges, after.edges))
        yield "changed", f"buckets: {_gone_and_new(lost, won)}"
    if before.count != after.count:
        yield "changed", f"counts {after.count:g} instead of {before.count:g} ({after.count / before.count:.0%})"
    elif any(before.below.get(edge) != after.below.get(edge) for edge in before.edges if edge in after.edges):
        yield "changed", "the same spans fall into other buckets"
    elif before.values == after.values and before.totals != after.totals:
        yield "changed", "the same number is counted, but under other labels"
    if before.help != after.help:
        yield "changed", f"help: {before.help!r} → {after.help!r}"
    if before.exemplars != after.exemplars:
        yield (
            ("gone" if before.exemplars else "new"),
            f"exemplars: {'none any more' if before.exemplars else 'now there'}",
        )


def _labels(before: _Shape, after: _Shape) -> Iterator[tuple[Severity, str]]:
    sizes = f"{len(before.series)} → {len(after.series)} series"
    lost, won = (sorted(one.keys() - two.keys()) for one, two in _both(before.values, after.values))
    if len(lost) == len(won) == 1 and before.values[lost[0]] == after.values[won[0]]:
        yield "changed", f"label {lost[0]} is renamed to {won[0]}"
        return
    for label in lost:
        yield "gone", f"label {label} is lost, {sizes}"
    for label in won:
        yield "new", f"label {label} is new: {', '.join(sorted(after.values[label]))}; {sizes}"
    for label in sorted(before.values.keys() & after.values.keys()):
        gone, new = (sorted(one - two) for one, two in _both(before.values[label], after.values[label]))
        if gone or new:
            yield "changed", f"label {label}: {_gone_and_new(gone, new)}, {sizes}"


def _both(one: Any, two: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return (one, two), (two, one)


def _gone_and_new(gone: list[str], new: list[str]) -> str:
    return " ".join([*(f"-{item}" for item in gone), *(f"+{item}" for item in new)])


def health(base: Replayed, edit: Replayed) -> Iterator[Change]:
    """The Collector's own metrics, which alerts on the pipeline need: their names and labels."""
    for name in [*base.health, *(name for name in edit.health if name not in base.health)]:
        before, after = base.health.get(name), edit.health.get(name)
        if after is None:
            yield Change("metrics", "gone", name, "is gone")
        elif before is None:
            yield Change("metrics", "new", name, "is new")
        elif before != after:
            yield Change(
                "metrics", "changed", name, f"labels: {_gone_and_new(sorted(before - after), sorted(after - before))}"
            )


def traces(base: Replayed, edit: Replayed) -> Iterator[Change]:
    """Exporter by exporter: spans lost, sent twice, altered; attributes that newly leave; exemplars without a trace."""
    for name in [*base.stored, *(name for name in edit.stored if name not in base.stored)]:
        if name not in edit.stored:
            yield Change("traces", "gone", name, "the exporter is gone: no trace is stored there any more")
        elif name not in base.stored:
            yield Change("traces", "new", name, f"a further exporter gets {len(edit.stored[name])} spans")
        else:
            yield from _exporter(name, base.stored[name], edit.stored[name])
            if edit.copies[name] > base.copies[name]:
                yield Change("traces", "changed", name, f"{edit.copies[name]} spans are sent twice")
    before, after = (one.linked - set().union(set(), *one.trace_ids.values()) for one in (base, edit))
    if after and not before:
        share = "all" if after == edit.linked else "some"
        yield Change("traces", "changed", "exemplars", f"{share} lead to a trace that no store has")


def _exporter(name: str, before: Mapping[str, Stored], after: Mapping[str, Stored]) -> Iterator[Change]:
    lost, won = (one.keys() - two.keys() for one, two in _both(before, after))
    if lost:
        yield Change("traces", "gone", name, f"{len(lost)} of {len(before)} spans are not sent any more")
    if won:
        yield Change(
            "traces", "new", name, f"{len(won)} spans more are sent: {_examples(after[key].name for key in won)}"
        )
    both = [(before[key], after[key]) for key in sorted(before.keys() & after.keys())]
    for place, of in (("attribute", "attributes"), ("resource attribute", "resource")):
        keys = [{key for pair in both for key in getattr(pair[side], of)} for side in (0, 1)]
        for key in sorted(keys[1] - keys[0]):
            yield Change("traces", "new", name, f"{place} {key} leaves now")
        for key in sorted(keys[0] - keys[1]):
            yield Change("traces", "gone", name, f"{place} {key} is not sent any more")
        for key in sorted(keys[0] & keys[1]):
            pairs = [(getattr(old, of).get(key), getattr(new, of).get(key)) for old, new in both]
            if altered := [(old, new) for old, new in pairs if old != new]:
                old, new = altered[0]
                text = f"{place} {key} differs in {len(altered)} spans, such as {old or 'none'} → {_cut(new) or 'none'}"
                yield Change("traces", "changed", name, text)
    for what in ("name", "kind", "status", "events", "links", "scope", "emptied"):
        if altered := [pair for pair in both if getattr(pair[0], what) != getattr(pair[1], what)]:
            old, new = (getattr(one, what) for one in altered[0])
            subject = "what has to be empty" if what == "emptied" else what
            text = f"{subject} differs in {len(altered)} spans, such as {old or 'none'} → {_cut(str(new)) or 'none'}"
            yield Change("traces", "changed", name, text)


def _examples(names: Iterator[str]) -> str:
    return ", ".join(sorted(set(names))[:3])


def _cut(text: str | None) -> str:
    return text if text is None or len(text) <= 40 else text[:39] + "…"  # type: ignore[return-value]


def leaks(base: Replayed, edit: Replayed) -> Iterator[Change]:
    """Patients' data planted in the workload that come out."""
    for where, places in edit.leaks.items():
        known = base.leaks.get(where, set())
        for place in sorted(places):
            again = " (as in the base)" if place in known else ""
            yield Change("contract", "leak", where, f"PATIENT DATA LEAVE: what stood in {place}{again}")


def contract(outcome: Replayed, wanted: Samples, rules: Contract) -> Iterator[Change]:
    """What the edit's own contract says and the edit does not do."""
    for name, (kind, text) in outcome.meaning.items():
        metric = rules.by_name.get(name)
        if metric is None:
            yield Change("contract", "broken", name, "is not documented")
            continue
        for problem in _broken(outcome, wanted, metric, rules):
            yield Change("contract", "broken", name, problem)
        if (kind, text) != (metric.type, metric.help):
            yield Change("contract", "broken", name, f"is shown as {kind}, {text!r}")
    for name in rules.by_name:
        if name not in outcome.meaning:
            yield Change("contract", "broken", name, "is documented and does not come out")


def _broken(outcome: Replayed, wanted: Samples, metric: Metric, rules: Contract) -> Iterator[str]:
    """What is wrong about one documented metric: labels, edges, numbers, exemplars; each said once."""
    names = set(metric.samples)
    shown = {key: number for key, number in outcome.samples.items() if key[0] in names}
    problems = {undocumented(name, dict(labels), rules) for name, labels in shown} - {""}
    if problems:
        first, *further = sorted(problems, key=lambda text: ("_bucket" in text, text))
        yield first.partition(" ")[2] + f", and {len(further)} problems more" * (len(further) > 2)
    edges = outcome.edges.get(metric.name, [])
    for limit in metric.limits if edges else []:
        if f"{limit:g}" not in edges:
            what = "target" if metric.target and limit == metric.target.value else "alert threshold"
            yield f"its {what} {limit:g} s is no edge any more: nothing can tell what lies above it"
    promised = {key: number for key, number in wanted.items() if key[0] in names}
    missing = len(promised.keys() - shown.keys())
    wrong = sum(1 for key, number in promised.items() if shown.get(key, number) != number)
    surplus = 0 if problems else len(shown.keys() - promised.keys())
    counts = {"missing": missing, "with other values": wrong, "too many": surplus}
    if any(counts.values()):
        parts = [f"{number} {what}" for what, number in counts.items() if number]
        yield f"of {len(promised)} samples that the contract promises: {', '.join(parts)}"
    if metric.name in rules.derived and metric.name not in outcome.exemplars:
        yield "carries no exemplars: no way leads from its panel to a trace"


def effects(base: Replayed, edit: Replayed, users: list[Consumer]) -> Iterator[Effect]:
    """Whose selectors no longer find anything, or find something else; through recorded names too."""
    series = _by_name(base.samples), _by_name(edit.samples)
    own = {use: _fate(base, edit, series, use) for user in users for use in user.uses}
    state: dict[str, Fate] = {}
    through: dict[Consumer, tuple[Fate, set[str]]] = {}
    for _ in range(len(users) + 1):  # until what recording rules pass on has reached everybody
        before = dict(state)
        for user in users:
            fates = {use.sample: own[use] or state.get(use.sample) for use in user.uses}
            if samples := {sample for sample, fate in fates.items() if fate}:
                worst: Fate = "goes blind" if "goes blind" in fates.values() else "changes meaning"
                through[user] = (worst, samples)
                if user.records:
                    state[user.records] = worst
        if state == before:
            break
    found = [
        Effect(str(user), f"{user.file}:{user.line}", what, tuple(sorted(samples)))
        for user, (what, samples) in through.items()
    ]
    for name in sorted(base.summary.keys() | edit.summary.keys()):
        old, new = base.summary.get(name, 0), edit.summary.get(name, 0)
        if old != new:
            found.append(
                Effect(f"summary field {name}", f"{old:g} → {new:g}", "changes meaning" if new else "goes blind")
            )
    yield from sorted(found, key=lambda effect: (effect.what != "goes blind", effect.who))


Series = dict[str, list[tuple[dict[str, str], float]]]
"""Labels and value of all samples, by their name."""


def _by_name(samples: Samples) -> Series:
    found: Series = {}
    for (name, labels), number in samples.items():
        found.setdefault(name, []).append((dict(labels), number))
    return found


def _fate(base: Replayed, edit: Replayed, series: tuple[Series, Series], use: Use) -> Fate | None:
    """What becomes of one selector: it finds nothing any more, or something else."""
    if use.sample in base.health:
        needed = {matcher.label for matcher in use.matchers} & base.health[use.sample]
        return (
            None if needed <= edit.health.get(use.sample, frozenset()) and use.sample in edit.health else "goes blind"
        )
    old, new = (_selected(one, use) for one in series)
    if old and not new:
        return "goes blind"
    return "changes meaning" if old != new else None


def _selected(series: Series, use: Use) -> dict[Labels, float]:
    """What a selector finds, summed by the labels that the expression around it names."""
    found: dict[Labels, float] = {}
    for labels, number in series.get(use.sample, []):
        if all(matcher.takes(labels.get(matcher.label, "")) for matcher in use.matchers):
            kept = frozenset((label, value) for label, value in labels.items() if label in use.grouped)
            found[kept] = round(found.get(kept, 0) + number, 9)
    return found
