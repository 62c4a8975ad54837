"""What the Collector's YAML lets out is what the contract allows."""

import re
from collections.abc import Iterator, Mapping

from tools.base.files import Finding
from tools.model import collector_yaml, contract
from tools.model.collector_yaml import SPANS, Statement, listed, strings
from tools.model.contract import OTHER, AttributeRule, label_of
from tools.model.repository import Repository

_PLACE = ("processors", SPANS, "trace_statements")
_LIST = re.compile(r"\(\[[^\]]*\]")


def copies_what_may_leave(it: Repository) -> Iterator[Finding]:
    """① What may leave is copied, a statement an attribute, each with the contract's condition; all else is dropped."""
    rules = it.contract.attributes
    sets = {key: it.contract.closed_set(label_of(key)) - {OTHER} for key in it.contract.label_attributes}
    of_labels = {key: AttributeRule(values=sorted(values)) for key, values in sets.items()}
    yield from _copies(it, "resource", rules.resource)
    yield from _copies(it, "span", of_labels | rules.span)
    yield from _copies(it, "spanevent", rules.event)
    if "set(scope.attributes, {})" not in (one.text for one in it.yaml.statements(SPANS) if not one.conditions):
        yield it.wrong("is missing: set(scope.attributes, {})", *_PLACE)


def _copies(it: Repository, context: str, rules: Mapping[str, AttributeRule]) -> Iterator[Finding]:
    """Of one context: the copies that it has to have, before the one statement that drops what was not copied."""
    last = f"set({context}.attributes, {context}.cache)"
    ends = [one for one in it.yaml.statements(SPANS) if one.text == last]
    if len(ends) != 1 or ends[0].context != context or ends[0].conditions:
        place = ends[0].keys if ends else _PLACE
        yield it.wrong(f"needs exactly one, without conditions: {last}", *place)
        return
    wanted = _wanted(it, context, rules)
    for one in it.yaml.statements(SPANS):
        if one.keys[:-1] != ends[0].keys[:-1] or one.keys >= ends[0].keys or f"{context}.cache" not in one.text:
            continue
        head = one.text.partition(" where ")[0]
        if head not in wanted:
            yield it.wrong(f"{head}: is not in {contract.PATH}, or stands twice", *one.keys)
        else:
            yield from _as_wanted(it, one, wanted.pop(head))
    for text in wanted.values():
        yield it.wrong(f"is missing before {last}: {_as_typed(text)}", *_PLACE)


def _wanted(it: Repository, context: str, rules: Mapping[str, AttributeRule]) -> dict[str, str]:
    """The statements by what stands before their `where`."""
    found = {}
    for key, rule in rules.items():
        path = f'{context}.attributes["{key}"]'
        head = f'set({context}.cache["{key}"], {path})'
        found[head] = f"{head} where {_condition(path, rule, [] if context == 'resource' else [OTHER])}"
    if context == "span":
        for key in sorted(_decisive(it)):
            head = f'set(span.cache["{key}"], "{OTHER}")'
            found[head] = f'{head} where span.attributes["{key}"] != nil and span.cache["{key}"] == nil'
    return found


def _condition(path: str, rule: AttributeRule, further: list[str]) -> str:
    if rule.values:
        listing = ", ".join(f'"{value}"' for value in dict.fromkeys([*rule.values, *further]))
        return f"{path} != nil and ContainsValue([{listing}], {path})"
    if rule.pattern:
        matches = [f'IsMatch({path}, "{_escaped(rule.pattern)}")']
        matches += [f'not IsMatch({path}, "{_escaped(rule.without)}")'] if rule.without else []
        return " and ".join([f"IsString({path})", *matches])
    return f"IsInt({path}) and {path} >= 100 and {path} <= 599"  # the one integer is HTTP's


def _as_typed(statement: str) -> str:
    """As it stands in the file, where a `$` would begin a variable."""
    return statement.replace("$", "$$")


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


def _decisive(it: Repository) -> set[str]:
    """Attributes whose presence decides something later, so that a wrong value may not take them away."""
    texts = [one.text for one in it.yaml.statements(SPANS) if one.conditions]
    asked = {match[1] for text in texts for match in re.finditer(r'span\.attributes\["([^"]+)"\] == nil', text)}
    return asked | {metric.source.attribute for metric in it.contract.derived.values() if metric.source.attribute}


def _as_wanted(it: Repository, one: Statement, wanted: str) -> Iterator[Finding]:
    """A copy may order its values as it likes and ask for a length, otherwise it is as the contract makes it."""
    found = re.sub(r" and Len\([^)]*\) <= \d+", "", one.text)
    of_found, of_wanted = listed(found), listed(wanted)
    if of_found is None or _LIST.sub("", found) != _LIST.sub("", wanted):
        if found != wanted:
            yield it.wrong(f"has to be: {_as_typed(wanted)}", *one.keys)
    else:
        key = strings(wanted)[0]
        yield from differences(it, one, set(of_found), set(of_wanted or []), f"closed set of {key}")


def shapes_names(it: Repository) -> Iterator[Finding]:
    """Names of spans, events and scopes leave in the contract's shapes only."""
    shapes = list(it.contract.name_shapes.values())
    for context, wanted in (("span", shapes), ("scope", shapes[:1]), ("spanevent", shapes[:1])):
        found = [
            statement
            for statement in it.yaml.statements(SPANS)
            if statement.text.startswith(f'set({context}.name, "{OTHER}") where Len({context}.name) > 64 or not')
        ]
        if not found:
            yield it.wrong(f"no statement makes {context} names of other shapes `{OTHER}`", *_PLACE)
        elif (shown := re.findall(r'IsMatch\([a-z]+\.name, "((?:[^"\\]|\\.)*)"\)', found[-1].text)) != wanted:
            yield it.wrong(f"the shapes of {context} names are not the contract's: {shown}", *found[-1].keys)


def knows_services(it: Repository) -> Iterator[Finding]:
    """Only the services of the contract get in."""
    [name] = it.contract.attributes.resource["service.name"].values or [""]
    condition = f'resource.attributes["service.name"] != "{name}"'
    for processor, kind in (
        (collector_yaml.SERVICES, "trace_conditions"),
        (collector_yaml.ALLOWED, "metric_conditions"),
    ):
        if condition not in (it.yaml.part("processors", processor, kind) or []):
            yield it.wrong(f"{processor} has to drop every other service: {condition}", "processors", processor, kind)


def differences(it: Repository, one: Statement, found: set[str], wanted: set[str], what: str) -> Iterator[Finding]:
    """Members that a statement's list has and the contract has not, or the other way round."""
    for missing in sorted(wanted - found):
        yield it.wrong(f"{what}: {missing} is missing, the contract has it", *one.keys)
    for surplus in sorted(found - wanted):
        yield it.wrong(f"{what}: {surplus} is not in {contract.PATH}", *one.keys)
