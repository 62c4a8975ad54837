"""The search itself: it finds each form of each canary in each kind of output, and nothing where there is nothing."""

import base64
import json
from collections.abc import Callable

import pytest

from tests.leaks.canaries import CANARIES, SHORTEST, Canary, encodings, forms, hashes, hits, packed, strip
from tests.leaks.otlp_canaries import leaves
from tools.base.otlp import Spec, traces

LINE = b'{"level":"info","message":"%s","n":17.5,"id":"4f0c2a"}\n'


def found(content: bytes) -> set[str]:
    """The canaries that the search sees."""
    return {hit.canary for hit in hits(CANARIES, {"output": content})}


def test_nothing_is_found_where_nothing_is() -> None:
    quiet = traces([Spec("lane.classify", {"lane": "faq"}) for _ in range(50)])
    outputs = {"log": LINE * 100, "OTLP": quiet.SerializeToString(), **leaves(quiet)}
    assert hits(CANARIES, outputs) == []


OUTPUTS: dict[str, Callable[[bytes], bytes]] = {
    "a log": lambda needle: LINE * 3 + LINE.replace(b"%s", needle) + LINE * 3,
    "OTLP": lambda needle: traces([Spec("mem0.write", {"lane": needle})]).SerializeToString(),
    "gzip": lambda needle: packed(LINE + needle)["gzip"],
    "zlib within something": lambda needle: b"head" + packed(needle + LINE)["zlib"] + b"tail",
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_each_form_of_each_canary_is_found_in_each_kind_of_output(canary: Canary, output: str) -> None:
    texts = {canary.text, canary.text.upper(), canary.text.lower(), strip(canary.text), *canary.parts}
    written = {form: needle for text in texts for form, needle in encodings(text) if len(needle) >= SHORTEST}
    written |= dict(hashes(canary.text))
    for form, needle in written.items():
        assert hits([canary], {"output": OUTPUTS[output](needle)}), form


@pytest.mark.parametrize("offset", range(3))
@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_base64_is_found_wherever_the_canary_begins_in_it(canary: Canary, offset: int) -> None:
    whole = b"xyz"[:offset] + canary.text.encode() + b"and more"
    for encoded in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
        assert found(encoded) == {canary.name}


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_numbers_are_found_however_they_are_separated_but_not_as_parts_of_longer_ones(canary: Canary) -> None:
    for spelling in (*canary.spellings, str(canary.number), str(canary.small), f"{float(canary.number):e}"):
        assert found(b"1 " + spelling.encode() + b" ms") == {canary.name} or "e+" in spelling, spelling
    assert found(f'{{"n":1{canary.number}1,"m":9{canary.small}}}'.encode()) <= {"phone", "JID", "CPF"} & {canary.name}


@pytest.mark.parametrize("canary", [canary for canary in CANARIES if canary.digits], ids=lambda canary: canary.name)
def test_digits_are_found_with_any_separators(canary: Canary) -> None:
    digits = canary.digits
    for separator in (" ", "-", ".", "/", ") "):
        assert found(("tel " + separator.join([digits[:4], digits[4:7], digits[7:]])).encode()) == {canary.name}


def test_a_json_document_with_a_canary_as_a_key_deep_inside_is_a_hit() -> None:
    document = {"a": [{"b": {canary.text: 1 for canary in CANARIES}}]}
    assert found(json.dumps(document).encode()) == {canary.name for canary in CANARIES}
    assert found(json.dumps(json.dumps(document)).encode()) == {canary.name for canary in CANARIES}


def test_all_needles_are_long_enough_not_to_be_found_by_chance() -> None:
    assert all(len(needle) >= SHORTEST for canary in CANARIES for needle in canary.needles)
    assert forms(CANARIES) > 4000
