"""What may leave the Collector is copied, attribute by attribute, as the contract has it; nothing else is kept."""

import re
from collections.abc import Iterator, Mapping

from tools.base.files import Finding
from tools.check.checked import Checked
from tools.model import contract
from tools.model.collector_yaml import SPAN_STATEMENTS, SPANS, Statement, listed, strings
from tools.model.contract import OTHER, Rule, label_of

_LIST = re.compile(r"\(\[[^\]]*\]")


def copies_what_may_leave(it: Checked) -> Iterator[Finding]:
    """① What may leave is copied, a statement an attribute, each with the contract's condition; all else is dropped."""
    rules = it.contract.attributes
    sets = {key: it.contract.closed_set(label_of(key)) - {OTHER} for key in it.contract.label_attributes}
    of_labels = {key: Rule(values=sorted(values)) for key, values in sets.items()}
    yield from _copies(it, "resource", rules.resource)
    yield from _copies(it, "span", of_labels | rules.span)
    yield from _copies(it, "spanevent", rules.event)
    if "set(scope.attributes, {})" not in (one.text for one in it.yaml.statements(SPANS) if not one.conditions):
        yield it.wrong("is missing: set(scope.attributes, {})", *SPAN_STATEMENTS)


def _copies(it: Checked, context: str, rules: Mapping[str, Rule]) -> Iterator[Finding]:
    """Of one context: the copies that it has to have, before the one statement that drops what was not copied."""
    last = f"set({context}.attributes, {context}.cache)"
    ends = [one for one in it.yaml.statements(SPANS) if one.text == last]
    if len(ends) != 1 or ends[0].context != context or ends[0].conditions:
        place = ends[0].keys if ends else SPAN_STATEMENTS
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
        yield it.wrong(f"is missing before {last}: {_as_typed(text)}", *SPAN_STATEMENTS)


def _wanted(it: Checked, context: str, rules: Mapping[str, Rule]) -> dict[str, str]:
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


def _condition(path: str, rule: Rule, further: list[str]) -> str:
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


def _decisive(it: Checked) -> set[str]:
    """Attributes whose presence decides something later, so that a wrong value may not take them away."""
    texts = [one.text for one in it.yaml.statements(SPANS) if one.conditions]
    asked = {match[1] for text in texts for match in re.finditer(r'span\.attributes\["([^"]+)"\] == nil', text)}
    return asked | {metric.source.attribute for metric in it.contract.derived.values() if metric.source.attribute}


def _as_wanted(it: Checked, one: Statement, wanted: str) -> Iterator[Finding]:
    """A copy may order its values as it likes and ask for a length, otherwise it is as the contract makes it."""
    found = re.sub(r" and Len\([^)]*\) <= \d+", "", one.text)
    of_found, of_wanted = listed(found), listed(wanted)
    if of_found is None or _LIST.sub("", found) != _LIST.sub("", wanted):
        if found != wanted:
            yield it.wrong(f"has to be: {_as_typed(wanted)}", *one.keys)
    else:
        key = strings(wanted)[0]
        yield from it.differ(one, set(of_found), set(of_wanted or []), f"closed set of {key}")
