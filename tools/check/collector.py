"""The Collector's YAML and the contract say the same: what can be seen without running it, rule by rule."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from tools.base.files import Finding, Sources
from tools.model import collector_yaml, contract
from tools.model.collector_yaml import CollectorYaml, Row, Statement, listed, type_of
from tools.model.consumers import Consumer, consumers
from tools.model.contract import OTHER, Contract, attribute

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m)")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Checked:
    """What the checks look at: the contract and the Collector's YAML of one version."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.contract: Contract = contract.load(sources)
        self.yaml = CollectorYaml(sources)

    @cached_property
    def consumers(self) -> list[Consumer]:
        """Alerts, rules and panels. Raises SourceError."""
        return consumers(self.sources)

    def wrong(self, text: str, *keys: str | int) -> Finding:
        """A finding in the Collector's YAML."""
        return self.yaml.document.finding(text, *keys)


def protects_spans(it: Checked) -> Iterator[Finding]:
    """① The allow-lists of attributes are the contract's."""
    attributes = it.contract.attributes
    wanted = {
        "resource": set(attributes.resource),
        "scope": set(),
        "span": {*it.contract.label_attributes, *attributes.span},
        "spanevent": set(attributes.event),
    }
    statements = it.yaml.statements(collector_yaml.SPANS)
    if not statements:
        yield it.wrong(
            f"`{collector_yaml.SPANS}` is gone: it keeps patients' data out of store and metrics", "processors"
        )
        return
    for context, allowed in wanted.items():
        found = [one for one in statements if one.text.startswith(f"keep_keys({context}.attributes,")]
        if len(found) != 1 or found[0].context != context or found[0].conditions:
            place = found[0].keys if found else ("processors", collector_yaml.SPANS)
            yield it.wrong(
                f"needs exactly one unconditional keep_keys({context}.attributes, …) in its own context", *place
            )
        else:
            yield from _differ(it, found[0], set(listed(found[0].text) or []), allowed, f"keep_keys of {context}")


def drops_nil_values(it: Checked) -> Iterator[Finding]:
    """① Under no key a value stays that OTTL sees as nil: it would pass the closed sets."""
    attributes = it.contract.attributes
    kept = {"span": {*it.contract.label_attributes, *attributes.span}, "spanevent": set(attributes.event)}
    kept["resource"] = set(attributes.resource) - {"service.name"}  # which the filter has compared
    for context, keys in kept.items():
        found = {one.text for one in it.yaml.statements(collector_yaml.SPANS) if not one.conditions}
        for key in sorted(keys):
            path = f'{context}.attributes["{key}"]'
            if (wanted := f'delete_key({context}.attributes, "{key}") where {path} == nil') not in found:
                yield it.wrong(f"is missing: {wanted}", "processors", collector_yaml.SPANS)


def closes_sets(it: Checked) -> Iterator[Finding]:
    """① Each attribute's values are clamped to the contract's closed set, shape or type."""
    sets = {key: it.contract.closed_set(contract.label_of(key)) - {OTHER} for key in it.contract.label_attributes}
    sets |= {key: set(rule.values) for key, rule in it.contract.attributes.span.items() if rule.values}
    for key, allowed in sets.items():
        path = f'span.attributes["{key}"]'
        form = f'set({path}, "{OTHER}") where {path} != nil and not ContainsValue(['
        if statement := _clamp(it, "span", key):
            if statement.text.startswith(form):
                yield from _differ(it, statement, set(listed(statement.text) or []), allowed, f"closed set of {key}")
            else:
                yield it.wrong(f"the closed set of {key} has to have the form {form}…], {path})", *statement.keys)
        else:
            yield _unclamped(it, key)
    kinds = {"resource": it.contract.attributes.resource, "span": it.contract.attributes.span}
    for context, rules in {**kinds, "spanevent": it.contract.attributes.event}.items():
        for key, rule in rules.items():
            if rule.pattern:
                found = _clamp(it, context, key)
                if not found:
                    yield _unclamped(it, key)
                elif _patterns(found.text) != {rule.pattern, rule.without or rule.pattern}:
                    yield it.wrong(f"{key}: the patterns are not the contract's: {_patterns(found.text)}", *found.keys)


def _patterns(text: str) -> set[str]:
    """The regular expressions that a statement matches with."""
    return {match.replace("\\\\", "\\") for match in re.findall(r'IsMatch\([^,]+, "((?:[^"\\]|\\.)*)"\)', text)}


def shapes_names(it: Checked) -> Iterator[Finding]:
    """Names of spans, events and scopes leave in the contract's shapes only."""
    shapes = list(it.contract.name_shapes.values())
    for context, wanted in (("span", shapes), ("scope", shapes[:1]), ("spanevent", shapes[:1])):
        found = [
            statement
            for statement in it.yaml.statements(collector_yaml.SPANS)
            if statement.text.startswith(f'set({context}.name, "{OTHER}") where Len({context}.name) > 64 or not')
        ]
        if not found:
            yield it.wrong(
                f"no statement makes {context} names of other shapes `{OTHER}`", "processors", collector_yaml.SPANS
            )
        elif (shown := re.findall(r'IsMatch\([a-z]+\.name, "((?:[^"\\]|\\.)*)"\)', found[-1].text)) != wanted:
            yield it.wrong(f"the shapes of {context} names are not the contract's: {shown}", *found[-1].keys)


def knows_services(it: Checked) -> Iterator[Finding]:
    """Only the services of the contract get in."""
    [name] = it.contract.attributes.resource["service.name"].values or [""]
    condition = f'resource.attributes["service.name"] != "{name}"'
    for processor, kind in (
        (collector_yaml.SERVICES, "trace_conditions"),
        (collector_yaml.ALLOWED, "metric_conditions"),
    ):
        if condition not in (it.yaml.part("processors", processor, kind) or []):
            yield it.wrong(f"{processor} has to drop every other service: {condition}", "processors", processor, kind)


def sets_families(it: Checked) -> Iterator[Finding]:
    """③ Every family that the contract counts is set somewhere, and none that nothing counts."""
    statements = it.yaml.statements(collector_yaml.SPANS)
    setters = [one for one in statements if one.text.startswith('set(span.attributes["family"], ')]
    found: dict[str, Statement] = {}
    for one in setters:
        literal = re.match(r'set\(span\.attributes\["family"\], "([^"]+)"\)', one.text)
        found |= dict.fromkeys([literal[1]] if literal else listed(one.text) or [], one)
    for family in sorted(it.contract.families - found.keys()):
        yield it.wrong(
            f"no statement sets family {family}: what the contract makes of it stays empty", *_place(setters)
        )
    for family in sorted(found.keys() - it.contract.families):
        yield it.wrong(f"family {family} feeds no metric of the contract", *found[family].keys)
    for family, one in found.items():
        if family == "cache.operation":
            verbs = _operations(it.contract, "cache_operation_duration_seconds")
            yield from _differ(it, one, set(listed(one.text) or []), {f"cache.{verb}" for verb in verbs}, "cache spans")
    for one in statements:
        if one.text.startswith('set(span.attributes["operation"], "other")') and "asyncpg" in one.conditions:
            verbs = _operations(it.contract, "database_queries_total")
            yield from _differ(it, one, set(listed(one.text) or []), verbs, "SQL operations")


def _operations(rules: Contract, name: str) -> set[str]:
    metric = rules.derived.get(name)
    return set(metric.labels.get("operation", [])) if metric else set()


def fills_labels(it: Checked) -> Iterator[Finding]:
    """A span without what a label is made from shows as `other`, unless being there is what makes the metric."""
    makers = {metric.source.attribute for metric in it.contract.derived.values()}
    wanted = {f'"{key}": "{OTHER}"' for key in it.contract.label_attributes if key not in makers}
    statements = it.yaml.statements(collector_yaml.LABELS)
    found = {pair for one in statements for pair in re.findall(r'"[^"]+": "[^"]*"', one.text)}
    for pair in sorted(found ^ wanted):
        what = "is missing" if pair in wanted else "is no label of the contract, or makes a metric by being there"
        yield it.wrong(f"{collector_yaml.LABELS}: {pair} {what}", "processors", collector_yaml.LABELS)


def has_rows(it: Checked) -> Iterator[Finding]:
    """⑤ One row makes each derived metric, from the right aggregate and spans, with the right labels."""
    rows: dict[str, Row] = {}
    for row in it.yaml.rows:
        if row.name in rows:
            yield it.wrong(f"a second row makes {row.name}: its counts would be twice as high", *row.keys, "new_name")
        elif row.name not in it.contract.derived:
            yield it.wrong(
                f"{row.name} is not in {contract.PATH}: undocumented metrics do not leave", *row.keys, "new_name"
            )
        rows[row.name] = row
    for name, metric in it.contract.derived.items():
        if name not in rows:
            yield it.wrong(f"no row makes {name}", "processors", collector_yaml.ROWS, "transforms")
        else:
            yield from _row(it, rows[name], metric)


def _row(it: Checked, row: Row, metric: contract.Metric) -> Iterator[Finding]:
    aggregate = "span.duration" if metric.type == "histogram" else "span.calls"
    include = f"^{re.escape(aggregate)}$" if row.is_pattern else aggregate
    if row.content.get("include") != include:
        yield it.wrong(
            f"{row.name}: include is {row.content.get('include')}, a {metric.type} needs {include}", *row.keys
        )
    if row.content.get("action") != "insert":
        yield it.wrong(f"{row.name}: action has to be insert, else the aggregate is used up", *row.keys)
    wanted = {"action": "aggregate_labels", "aggregation_type": "sum"}
    operations = row.content.get("operations") or []
    if len(operations) != 1 or {key: operations[0].get(key) for key in wanted} != wanted:
        yield it.wrong(f"{row.name}: needs the one operation {wanted} with its label_set", *row.keys, "operations")
    labels = [attribute(label) for label in metric.labels]
    if sorted(row.labels) != sorted(labels):
        yield it.wrong(f"{row.name}: label_set is {row.labels}, the contract has {labels}", *row.keys, "operations")
    yield from _matches(it, row, metric)


def _matches(it: Checked, row: Row, metric: contract.Metric) -> Iterator[Finding]:
    source = metric.source
    keys = {source.attribute} if source.attribute else {"family", *source.required}
    matched = row.content.get("experimental_match_labels") or {}
    if set(matched) != keys:
        yield it.wrong(
            f"{row.name}: matches by {sorted(matched)}, the contract says {sorted(map(str, keys))}", *row.keys
        )
        return
    for key in map(str, keys):
        values = it.contract.families if key == "family" else it.contract.values(key)
        wanted = set(source.families) if key == "family" else {source.required.get(key, "")} - {""} or values
        if (found := {value for value in values if row.selects(key, value)}) != wanted:
            text = f"{row.name}: {key}: {matched[key]} selects {sorted(found) or 'nothing'}, not {sorted(wanted)}"
            yield it.wrong(text, *row.keys, "experimental_match_labels")


def has_dimensions(it: Checked) -> Iterator[Finding]:
    """④ span_metrics carries what rows match or keep, and nothing else."""
    matched = {str(key) for row in it.yaml.rows for key in row.content.get("experimental_match_labels") or {}}
    needed = {*it.contract.label_attributes, *matched}
    for name in it.yaml.of_type("connectors", "span_metrics"):
        keys = ("connectors", name, "dimensions")
        found = [str(dimension.get("name")) for dimension in it.yaml.part(*keys) or []]
        for missing in sorted(needed - set(found)):
            yield it.wrong(f"no dimension {missing}: rows that match or keep it come out empty or without it", *keys)
        for surplus in sorted(set(found) - needed):
            yield it.wrong(f"dimension {surplus} multiplies the hidden series and no row uses it", *keys)
        edges = it.yaml.part("connectors", name, "histogram", "explicit", "buckets") or []
        if (ladder := [_seconds(str(edge)) for edge in edges]) != it.contract.buckets:
            moved = sorted(set(map(str, ladder)) ^ set(map(str, it.contract.buckets))) or "their order"
            text = f"the buckets are not the contract's, they differ by {moved}"
            yield it.wrong(text, "connectors", name, "histogram", "explicit", "buckets")


# Settings without which series multiply, split or fall, or names and labels change: what it has to be, and why.
SPAN_METRICS = {
    "namespace": ("span", "the rows expect it"),
    "resource_metrics_key_attributes": (["service.name"], "else each process has its own series"),
    "exemplars": ({"enabled": True}, "else no way leads from a panel to a trace"),
    "series_expiration": (None, "sums that fall look like a restart to Prometheus"),
    "metrics_expiration": (None, "sums that fall look like a restart to Prometheus"),
}
EXPORTER = {
    "enable_open_metrics": (True, "no other text format carries exemplars"),
    "without_scope_info": (True, "else every series has three labels more"),
    "translation_strategy": ("UnderscoreEscapingWithSuffixes", "the names of the contract are made so"),
}
EXCLUDED = {"service.name", "span.name", "span.kind", "status.code", "collector.instance.id"}


def keeps_series_stable(it: Checked) -> Iterator[Finding]:
    """Settings of span_metrics and the exporter on which all series depend."""
    for part, kind, settings in (("connectors", "span_metrics", SPAN_METRICS), ("exporters", "prometheus", EXPORTER)):
        for name, (key, (wanted, why)) in itertools.product(it.yaml.of_type(part, kind), settings.items()):
            if it.yaml.part(part, name, key) != wanted:
                said = f"has to be {wanted}" if wanted is not None else "has to be left out"
                yield it.wrong(f"{key} {said}: {why}", part, name, key)
    for name in it.yaml.of_type("connectors", "span_metrics"):
        keys = ("connectors", name, "exclude_dimensions")
        if set(it.yaml.part(*keys) or []) != EXCLUDED:
            yield it.wrong(f"exclude_dimensions has to be {sorted(EXCLUDED)}", *keys)
        limit = it.yaml.part("connectors", name, "aggregation_cardinality_limit")
        if not isinstance(limit, int) or not 0 < limit <= 10_000:
            yield it.wrong("aggregation_cardinality_limit has to be 1 to 10000, unset is no limit", "connectors", name)
        if it.yaml.part("connectors", name, "histogram", "unit") != "s":
            yield it.wrong("the histogram has to be in seconds: unit: s", "connectors", name, "histogram")


def words_help(it: Checked) -> Iterator[Finding]:
    """⑥ HELP texts and units are the contract's."""
    for processor, metrics in (
        (collector_yaml.DERIVED, it.contract.derived),
        (collector_yaml.INSTRUMENTS, it.contract.instruments),
    ):
        texts = {one.text: one for one in it.yaml.statements(processor) if one.text.startswith("set(metric.")}
        wanted = set()
        for name, metric in metrics.items():
            inner = metric.source.instrument or name
            wanted.add(f'set(metric.description, "{metric.help}") where metric.name == "{inner}"')
            if metric.source.instrument:
                wanted.add(f'set(metric.unit, "{metric.unit}") where metric.name == "{inner}"')
        for missing in sorted(wanted - texts.keys()):
            yield it.wrong(f"is missing: {missing}", "processors", processor)
        for surplus in sorted(texts.keys() - wanted):
            yield it.wrong("is not what the contract says", *texts[surplus].keys)
    keys = ("processors", collector_yaml.DERIVED)
    kept = [one for one in it.yaml.statements(collector_yaml.DERIVED) if one.context == "resource"]
    if [one.text for one in kept] != ['keep_keys(resource.attributes, ["service.name"])']:
        yield it.wrong("the resource of derived metrics keeps service.name and nothing else", *keys)


def admits_instruments(it: Checked) -> Iterator[Finding]:
    """Of metrics over OTLP only the contract's instruments pass."""
    conditions = " ".join(it.yaml.part("processors", collector_yaml.ALLOWED, "metric_conditions") or [])
    named = set(re.findall(r'metric\.name == "([^"]*)"', conditions))
    instruments = {str(metric.source.instrument) for metric in it.contract.instruments.values()}
    if named != instruments:
        text = f"lets {sorted(named)} pass, the contract has {sorted(instruments)}"
        yield it.wrong(text, "processors", collector_yaml.ALLOWED, "metric_conditions")
    for one in it.yaml.statements(collector_yaml.INSTRUMENTS):
        if match := re.match(r'set\(datapoint\.attributes\["(\w+)"\], "other"\)', one.text):
            allowed = it.contract.closed_set(match[1]) - {OTHER}
            yield from _differ(it, one, set(listed(one.text) or []), allowed, f"closed set of {match[1]}")


def orders_pipelines(it: Checked) -> Iterator[Finding]:
    """Refuse, protect, derive, store, in this order: nothing leaves unprotected, is counted twice or by sample."""
    for name in it.yaml.entering("traces"):
        yield from _order(it, name, ["memory_limiter", collector_yaml.SERVICES, collector_yaml.SPANS, "batch"])
    for name in it.yaml.entering("metrics"):
        yield from _order(it, name, ["memory_limiter", collector_yaml.ALLOWED, collector_yaml.INSTRUMENTS])
    for name, pipeline in it.yaml.pipelines.items():
        derives = [exporter for exporter in pipeline["exporters"] if type_of(exporter) == "span_metrics"]
        for sampler in (item for item in _upstream(it, name) if type_of(item) in collector_yaml.SAMPLERS):
            if derives:
                text = f"{sampler} stands before {derives[0]}: counts would be of the sample, not of what happened"
                yield it.wrong(text, "service", "pipelines", name)
        if any(type_of(receiver) == "span_metrics" for receiver in pipeline["receivers"]):
            yield from _order(
                it, name, [collector_yaml.LABELS, collector_yaml.ROWS, collector_yaml.DERIVED, "filter/raw"]
            )
            if "memory_limiter" in map(type_of, pipeline["processors"]):
                yield it.wrong("a refused flush loses its exemplars", "service", "pipelines", name, "processors")
    if it.yaml.part("processors", "batch") != {"timeout": "0s", "send_batch_size": 0}:
        text = "batch has to be {timeout: 0s, send_batch_size: 0}: what waits in it is lost by a kill"
        yield it.wrong(text, "processors", "batch")


def _order(it: Checked, name: str, wanted: list[str]) -> Iterator[Finding]:
    """The wanted processors are there in this order; others may stand between, but nothing before the first."""
    found = it.yaml.pipelines[name]["processors"]
    keys = ("service", "pipelines", name, "processors")
    if missing := [item for item in wanted if item not in found]:
        yield it.wrong(f"{name}: {missing[0]} is missing", *keys)
    elif [item for item in found if item in wanted] != wanted or found[0] != wanted[0]:
        yield it.wrong(f"{name}: the order has to be {', '.join(wanted)}", *keys)
    elif "batch" in wanted and found[-1] != "batch":
        yield it.wrong(f"{name}: batch has to be the last: it stands between the senders and the store", *keys)


def _upstream(it: Checked, name: str, seen: frozenset[str] = frozenset()) -> list[str]:
    """All processors that what this pipeline passes on has gone through."""
    pipeline = it.yaml.pipelines[name]
    found = list(pipeline["processors"])
    for other, feeding in it.yaml.pipelines.items():
        if other not in seen | {name} and set(feeding["exporters"]) & set(pipeline["receivers"]) & set(
            it.yaml.connectors
        ):
            found += _upstream(it, other, seen | {name})
    return found


def uses_components(it: Checked) -> Iterator[Finding]:
    """What is declared is used."""
    for name in it.yaml.part("extensions") or {}:
        if name not in (it.yaml.part("service", "extensions") or []):
            yield it.wrong(f"{name} is not in service.extensions, so it does not run", "extensions", name)
    for part in ("receivers", "processors", "connectors", "exporters"):
        places = ("receivers", "exporters") if part == "connectors" else (part,)
        used = {item for pipeline in it.yaml.pipelines.values() for place in places for item in pipeline[place]}
        for name in sorted(set(it.yaml.part(part) or {}) - used):
            yield it.wrong(f"{name} is in no pipeline", part, name)


def names_contexts(it: Checked) -> Iterator[Finding]:
    """Every group of statements names its context and stops at an error."""
    for name, processor in (it.yaml.part("processors") or {}).items():
        if type_of(name) in ("transform", "filter") and (processor or {}).get("error_mode") != "propagate":
            text = f"{name}: error_mode has to be propagate, else what a statement could not protect leaves unprotected"
            yield it.wrong(text, "processors", name)
        for kind in ("trace_statements", "metric_statements"):
            for number, group in enumerate((processor or {}).get(kind) or []):
                if not isinstance(group, dict) or not {"context", "statements"} <= set(group):
                    text = f"{name}: name the context, else statements run in the lowest that any of them mentions"
                    yield it.wrong(text, "processors", name, kind, number)
    for one in it.yaml.statements(collector_yaml.SPANS):
        if "clear(span.links" in one.text:
            yield it.wrong("clear(span.links) ends the process, set(span.links, nil) does not", *one.keys)


def _differ(it: Checked, one: Statement, found: set[str], wanted: set[str], what: str) -> Iterator[Finding]:
    for missing in sorted(wanted - found):
        yield it.wrong(f"{what}: {missing} is missing, the contract has it", *one.keys)
    for surplus in sorted(found - wanted):
        yield it.wrong(f"{what}: {surplus} is not in {contract.PATH}", *one.keys)


def _clamp(it: Checked, context: str, key: str) -> Statement | None:
    """The unconditional statement that rules an attribute; the last, because it decides."""
    path = f'{context}.attributes["{key}"]'
    found = [
        one
        for one in it.yaml.statements(collector_yaml.SPANS)
        if one.context == context
        and not one.conditions
        and one.text.startswith((f"set({path}", f"delete_key({context}"))
        if path in one.text
    ]
    return found[-1] if found else None


def _unclamped(it: Checked, key: str) -> Finding:
    return it.wrong(
        f"no statement rules the values of {key}: anything could leave in it", "processors", collector_yaml.SPANS
    )


def _place(statements: Iterable[Statement]) -> tuple[str | int, ...]:
    return next((one.keys for one in statements), ("processors", collector_yaml.SPANS))


def _seconds(edge: str) -> float | str:
    match = DURATION.fullmatch(edge)
    return round(float(match[1]) * SECONDS[match[2]], 9) if match else edge


RULES: tuple[Callable[[Checked], Iterator[Finding]], ...] = (
    protects_spans,
    drops_nil_values,
    closes_sets,
    shapes_names,
    knows_services,
    sets_families,
    fills_labels,
    has_rows,
    has_dimensions,
    keeps_series_stable,
    words_help,
    admits_instruments,
    orders_pipelines,
    uses_components,
    names_contexts,
)
