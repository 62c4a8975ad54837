"""The Collector's YAML and the contract say the same: what can be seen without running it, rule by rule."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from tools.base.files import Finding
from tools.check.redaction import copies_what_may_leave, differences, knows_services, shapes_names
from tools.model import collector_yaml, contract
from tools.model.collector_yaml import SPANS, Row, Statement, listed, type_of
from tools.model.contract import OTHER, Contract, attribute
from tools.model.repository import Repository

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m)")
_PLACE = ("processors", SPANS, "trace_statements")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def sets_families(it: Repository) -> Iterator[Finding]:
    """③ Every family that the contract counts is set somewhere, and none that nothing counts."""
    statements = it.yaml.statements(SPANS)
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
            names = {f"cache.{verb}" for verb in _operations(it.contract, "cache_operation_duration_seconds")}
            yield from differences(it, one, set(listed(one.text) or []), names, "cache spans")
    for one in statements:
        if one.text.startswith('set(span.attributes["operation"], "other")') and "asyncpg" in one.conditions:
            verbs = _operations(it.contract, "database_queries_total")
            yield from differences(it, one, set(listed(one.text) or []), verbs, "SQL operations")


def _operations(rules: Contract, name: str) -> set[str]:
    metric = rules.derived.get(name)
    return set(metric.labels.get("operation", [])) if metric else set()


def has_rows(it: Repository) -> Iterator[Finding]:
    """④ One row makes each derived metric, from the right aggregate and spans, with the right labels."""
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


def _row(it: Repository, row: Row, metric: contract.Metric) -> Iterator[Finding]:
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


def _matches(it: Repository, row: Row, metric: contract.Metric) -> Iterator[Finding]:
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


def has_dimensions(it: Repository) -> Iterator[Finding]:
    """⑥ span_metrics carries what rows match or keep, and nothing else; what a span lacks shows as `other`.

    But not what makes a metric by being there, or selects for one.
    """
    matched = {str(key) for row in it.yaml.rows for key in row.content.get("experimental_match_labels") or {}}
    needed = {*it.contract.label_attributes, *matched}
    for name in it.yaml.of_type("connectors", "span_metrics"):
        keys = ("connectors", name, "dimensions")
        found = [str(dimension.get("name")) for dimension in it.yaml.part(*keys) or []]
        for missing in sorted(needed - set(found)):
            yield it.wrong(f"no dimension {missing}: rows that match or keep it come out empty or without it", *keys)
        for surplus in sorted(set(found) - needed):
            yield it.wrong(f"dimension {surplus} multiplies the hidden series and no row uses it", *keys)
        makers = {str(metric.source.attribute) for metric in it.contract.derived.values()}
        for number, dimension in enumerate(it.yaml.part(*keys) or []):
            key, default = dimension.get("name"), dimension.get("default")
            shown = OTHER if key in it.contract.label_attributes and key not in makers else None
            if default != shown:
                said = f"has to have default: {shown}" if shown else "may have no default"
                yield it.wrong(f"dimension {key} {said}", *keys, number)
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


def keeps_series_stable(it: Repository) -> Iterator[Finding]:
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


def words_help(it: Repository) -> Iterator[Finding]:
    """⑤ HELP texts and units are the contract's."""
    keys: tuple[str | int, ...] = ("processors", collector_yaml.DERIVED)
    statements = it.yaml.statements(collector_yaml.DERIVED)
    kept = [one.text for one in statements if one.context == "resource"]
    if kept != ['keep_keys(resource.attributes, ["service.name"])']:
        yield it.wrong("the resource of derived metrics keeps service.name and nothing else", *keys)
    on_metrics = [one for one in statements if one.context == "metric" and not one.conditions]
    table, *further = on_metrics or [Statement("", keys, "metric", "")]
    found = dict(re.findall(r'"([^"]+)": "((?:[^"\\]|\\.)*)"', table.text))
    set_it = "set(metric.description, metric.cache[metric.name]) where metric.cache[metric.name] != nil"
    if not table.text.startswith("set(metric.cache, {") or [one.text for one in further] != [set_it]:
        yield it.wrong(f"needs the table `set(metric.cache, {{…}})`, then {set_it}", *table.keys)
    wanted = {name: metric.help for name, metric in it.contract.derived.items()}
    for name in sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        said = f'has to be "{name}": "{wanted[name]}"' if name in wanted else f"is of no metric of {contract.PATH}"
        yield it.wrong(f"HELP of {name} {said}", *table.keys)
    yield from _instruments_help(it)


def _instruments_help(it: Repository) -> Iterator[Finding]:
    statements = it.yaml.statements(collector_yaml.INSTRUMENTS)
    texts = {one.text: one for one in statements if one.text.startswith("set(metric.")}
    wanted = set()
    for metric in it.contract.instruments.values():
        name = metric.source.instrument
        wanted.add(f'set(metric.description, "{metric.help}") where metric.name == "{name}"')
        wanted.add(f'set(metric.unit, "{metric.unit}") where metric.name == "{name}"')
    for missing in sorted(wanted - texts.keys()):
        yield it.wrong(f"is missing: {missing}", "processors", collector_yaml.INSTRUMENTS)
    for surplus in sorted(texts.keys() - wanted):
        yield it.wrong("is not what the contract says", *texts[surplus].keys)


def admits_instruments(it: Repository) -> Iterator[Finding]:
    """Of metrics over OTLP only the contract's instruments pass."""
    conditions = " ".join(it.yaml.part("processors", collector_yaml.ALLOWED, "metric_conditions") or [])
    named = set(re.findall(r'metric\.name == "([^"]*)"', conditions))
    instruments = {str(metric.source.instrument) for metric in it.contract.instruments.values()}
    if named != instruments:
        text = f"lets {sorted(named)} pass, the contract has {sorted(instruments)}"
        yield it.wrong(text, "processors", collector_yaml.ALLOWED, "metric_conditions")
    for one in it.yaml.statements(collector_yaml.INSTRUMENTS):
        if match := re.match(r'set\(datapoint\.cache\["(\w+)"\], datapoint\.attributes', one.text):
            allowed = it.contract.closed_set(match[1]) - {OTHER}
            yield from differences(it, one, set(listed(one.text) or []), allowed, f"closed set of {match[1]}")


def orders_pipelines(it: Repository) -> Iterator[Finding]:
    """Refuse, protect, derive, store, in this order: nothing leaves unprotected, is counted twice or by sample."""
    for name in it.yaml.entering("traces"):
        yield from _order(it, name, ["memory_limiter", collector_yaml.SERVICES, SPANS, "batch"])
    for name in it.yaml.entering("metrics"):
        yield from _order(it, name, ["memory_limiter", collector_yaml.ALLOWED, collector_yaml.INSTRUMENTS])
    for name, pipeline in it.yaml.pipelines.items():
        if type_of(name) not in ("traces", "metrics") and it.yaml.entering(type_of(name)):
            text = f"{name}: nothing takes patients' data out of {type_of(name)}, which the service does not send"
            yield it.wrong(text, "service", "pipelines", name)
        derives = [exporter for exporter in pipeline["exporters"] if type_of(exporter) == "span_metrics"]
        for sampler in (item for item in _upstream(it, name) if type_of(item) in collector_yaml.SAMPLERS):
            if derives:
                text = f"{sampler} stands before {derives[0]}: counts would be of the sample, not of what happened"
                yield it.wrong(text, "service", "pipelines", name)
        if any(type_of(receiver) == "span_metrics" for receiver in pipeline["receivers"]):
            yield from _order(it, name, [collector_yaml.ROWS, collector_yaml.DERIVED, "filter/raw"])
            if "memory_limiter" in map(type_of, pipeline["processors"]):
                yield it.wrong("a refused flush loses its exemplars", "service", "pipelines", name, "processors")
    if it.yaml.part("processors", "batch") != {"timeout": "0s", "send_batch_size": 0}:
        text = "batch has to be {timeout: 0s, send_batch_size: 0}: what waits in it is lost by a kill"
        yield it.wrong(text, "processors", "batch")


def _order(it: Repository, name: str, wanted: list[str]) -> Iterator[Finding]:
    """The wanted processors are there in this order; others may stand between, but nothing before the first."""
    found = it.yaml.pipelines[name]["processors"]
    keys = ("service", "pipelines", name, "processors")
    if missing := [item for item in wanted if item not in found]:
        yield it.wrong(f"{name}: {missing[0]} is missing", *keys)
    elif [item for item in found if item in wanted] != wanted or found[0] != wanted[0]:
        yield it.wrong(f"{name}: the order has to be {', '.join(wanted)}", *keys)
    elif "batch" in wanted and found[-1] != "batch":
        yield it.wrong(f"{name}: batch has to be the last: it stands between the senders and the store", *keys)


def _upstream(it: Repository, name: str, seen: frozenset[str] = frozenset()) -> list[str]:
    """All processors that what this pipeline passes on has gone through."""
    pipeline = it.yaml.pipelines[name]
    found = list(pipeline["processors"])
    for other, feeding in it.yaml.pipelines.items():
        if other not in seen | {name} and set(feeding["exporters"]) & set(pipeline["receivers"]) & set(
            it.yaml.connectors
        ):
            found += _upstream(it, other, seen | {name})
    return found


def keeps_what_is_ours(it: Repository) -> Iterator[Finding]:
    """Extras add: what they write in place of a list or a part of config.yaml has to hold all that was there."""
    for keys, ours, extras in it.yaml.document.replaced:
        where = ".".join(map(str, keys))
        if isinstance(ours, dict):
            yield it.wrong(f"{where} takes away what config.yaml has there: extras may only add", *keys)
        elif isinstance(ours, list):
            for lost in (item for item in ours if not isinstance(extras, list) or item not in extras):
                text = f"{where} lacks {lost}: lists of merged files replace each other, so repeat what config.yaml has"
                yield it.wrong(text, *keys)


def uses_components(it: Repository) -> Iterator[Finding]:
    """What is declared is used."""
    for name in it.yaml.part("extensions") or {}:
        if name not in (it.yaml.part("service", "extensions") or []):
            yield it.wrong(f"{name} is not in service.extensions, so it does not run", "extensions", name)
    for part in ("receivers", "processors", "connectors", "exporters"):
        places = ("receivers", "exporters") if part == "connectors" else (part,)
        used = {item for pipeline in it.yaml.pipelines.values() for place in places for item in pipeline[place]}
        for name in sorted(set(it.yaml.part(part) or {}) - used):
            yield it.wrong(f"{name} is in no pipeline", part, name)


def names_contexts(it: Repository) -> Iterator[Finding]:
    """Every group of statements names its context and stops at an error."""
    for name, processor in (it.yaml.part("processors") or {}).items():
        if type_of(name) in ("transform", "filter") and (processor or {}).get("error_mode") != "propagate":
            text = f"{name}: error_mode has to be propagate, else what a statement could not protect leaves unprotected"
            yield it.wrong(text, "processors", name, "error_mode")
        for kind in ("trace_statements", "metric_statements"):
            for number, group in enumerate((processor or {}).get(kind) or []):
                if not isinstance(group, dict) or not {"context", "statements"} <= set(group):
                    text = f"{name}: name the context, else statements run in the lowest that any of them mentions"
                    yield it.wrong(text, "processors", name, kind, number)
    for one in it.yaml.statements(SPANS):
        if "clear(span.links" in one.text:
            yield it.wrong("clear(span.links) ends the process, set(span.links, nil) does not", *one.keys)


def _place(statements: Iterable[Statement]) -> tuple[str | int, ...]:
    return next((one.keys for one in statements), _PLACE)


def _seconds(edge: str) -> float | str:
    match = DURATION.fullmatch(edge)
    return round(float(match[1]) * SECONDS[match[2]], 9) if match else edge


RULES: tuple[Callable[[Repository], Iterator[Finding]], ...] = (
    copies_what_may_leave,
    shapes_names,
    knows_services,
    sets_families,
    has_rows,
    has_dimensions,
    keeps_series_stable,
    words_help,
    admits_instruments,
    orders_pipelines,
    keeps_what_is_ours,
    uses_components,
    names_contexts,
)
