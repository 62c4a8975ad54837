"""The values that are planted, all the ways they could be written, and the search for them.

Everything is invented. Each value is of its own, so that a hit says which input leaked.
"""

import base64
import gzip
import hashlib
import html
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple
from urllib.parse import quote, quote_plus

SHORTEST = 8  # bytes of a needle: shorter ones would be found by chance
HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")
CHARSETS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")


class Hit(NamedTuple):
    """Where a canary was found, and how it was written there."""

    canary: str
    form: str
    output: str


@dataclass(frozen=True)
class Canary:
    """A planted value.

    Attributes:
        name: what it is.
        text: the value.
        parts: pieces that must not leave alone either, a last name for instance.
        spellings: the same value as people and programs write it, separators and digits.
        number: what is planted into fields that take only numbers.
        small: the same for fields of 32 bits; even, because OTLP's flags hide a point whose number is odd.
    """

    name: str
    text: str
    number: int
    small: int
    parts: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()

    @cached_property
    def digits(self) -> str:
        """Of a number with so many that nothing else has them by chance; else empty."""
        found = "".join(re.findall("[0-9]", self.text))
        return found if len(found) >= 11 and re.fullmatch(r"[\d .+/()-]+", self.text.partition("@")[0]) else ""

    @property
    def local(self) -> str:
        """The digits without a country's code."""
        return self.digits[2:] if len(self.digits) == 13 else self.digits

    @cached_property
    def needles(self) -> dict[bytes, str]:
        """What to search for in an output in lower case, and the name of each form."""
        found: dict[bytes, str] = {}
        for form, needle in self._needles():
            if len(needle) >= SHORTEST:
                found.setdefault(needle.lower(), form)
        return found

    @cached_property
    def grams(self) -> list[tuple[bytes, str, frozenset[int]]]:
        """The needles with some of their pieces, see Layer."""
        return [(needle, form, frozenset(_pieces(needle, 0))) for needle, form in self.needles.items()]

    @cached_property
    def stripped(self) -> dict[str, str]:
        """What to search for in an output without cases and accents."""
        texts = (self.text, *self.parts)
        return {strip(text): "without accents" for text in texts if len(strip(text)) >= SHORTEST}

    @cached_property
    def numbers(self) -> set[bytes]:
        """Numbers, which are a hit only if no further digit is beside them."""
        texts = {str(self.number), repr(float(self.number)), _exponent(self.number), str(self.small)}
        return {text.encode() for text in texts | {text for text in self.spellings if text.isdigit()}}

    def _needles(self) -> Iterator[tuple[str, bytes]]:
        for text in (self.text, *self.parts, *(one for one in self.spellings if not one.isdigit())):
            for cased in dict.fromkeys((text, text.upper(), text.casefold(), *_unicode_forms(text))):
                yield from encodings(cased)
        for text in dict.fromkeys((self.text, *self.parts, *self.spellings, *self._normalised())):
            yield from hashes(text)

    def _normalised(self) -> Iterator[str]:
        for text in (self.text, strip(self.text), self.text.strip().lower(), self.text.upper()):
            yield text
            yield text + "\n"
        if self.digits:
            yield from (self.digits, "+" + self.digits, self.local)


def _unicode_forms(text: str) -> list[str]:
    return [unicodedata.normalize("NFD", text), strip(text)]


def _exponent(number: int) -> str:
    """As Go writes a float64, `5.511987340621e+12`."""
    digits = str(number).rstrip("0")
    return f"{digits[0]}.{digits[1:]}e+{len(str(number)) - 1:02d}"


def encodings(text: str) -> Iterator[tuple[str, bytes]]:
    """A text in every encoding that is searched for, with the name of the form."""
    for charset in CHARSETS:
        try:
            raw = text.encode(charset)
        except UnicodeEncodeError:
            continue
        yield f"raw {charset}", raw
        yield f"hex {charset}", raw.hex().encode()
        yield f"hex with separators {charset}", raw.hex(" ").encode()
        for offset in range(3):
            for name, alphabet in (("base64", base64.b64encode), ("urlsafe base64", base64.urlsafe_b64encode)):
                yield f"{name} {charset}, alignment {offset}", _aligned(alphabet, raw, offset)
        yield f"base32 {charset}", base64.b32encode(raw[: len(raw) // 5 * 5])
        yield f"URL {charset}", quote(raw, safe="").encode()
        yield f"URL {charset}, safe characters kept", quote(raw, safe="/@:+,;=&!$'()*").encode()
        yield f"URL form {charset}", quote_plus(raw).encode()
        yield f"backslashes {charset}", _backslashes(raw, "\\x%02x")
        yield f"octal {charset}", _backslashes(raw, "\\%03o")
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield f"JSON, ASCII {ascii_only}", once.encode()
        yield f"JSON in JSON, ASCII {ascii_only}", json.dumps(once, ensure_ascii=ascii_only)[1:-1].encode()
    yield "JSON, HTML-safe", _json_html_safe(text)
    yield "HTML", html.escape(text).encode()
    yield "HTML, apostrophes kept", html.escape(text, quote=False).encode()
    yield "HTML, numbers", html.escape(text).encode("ascii", "xmlcharrefreplace")
    yield "Python", repr(text)[1:-1].encode()
    yield "Python bytes", repr(text.encode())[2:-1].encode()
    yield "Prometheus name", re.sub("[^a-zA-Z0-9]", "_", text).encode()
    yield "Prometheus name, short", re.sub("[^a-zA-Z0-9]+", "_", text).strip("_").encode()
    yield "SQL", text.replace("'", "''").encode()


def _aligned(alphabet: Callable[[bytes], bytes], raw: bytes, offset: int) -> bytes:
    """The characters that the text alone decides, where it begins at this byte of a group of three."""
    encoded = alphabet(b"\0" * offset + raw)
    return encoded[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6]


def _backslashes(raw: bytes, form: str) -> bytes:
    """Bytes outside of ASCII escaped one by one."""
    return "".join(chr(one) if 32 <= one < 127 else form % one for one in raw).encode()


def _json_html_safe(text: str) -> bytes:
    """As Go's encoder does."""
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", once).encode()


def hashes(text: str) -> Iterator[tuple[str, bytes]]:
    """The beginnings of a text's hashes, so that shortened ones are found too."""
    for name in HASHES:
        digest = hashlib.new(name, text.encode()).digest()
        yield f"{name}, hex", digest.hex()[:16].encode()
        yield f"{name}, base64", base64.b64encode(digest)[:16]
        yield f"{name}, urlsafe base64", base64.urlsafe_b64encode(digest)[:16]
        yield f"{name}, raw", digest[:12]


def strip(text: str) -> str:
    """Without cases, accents, and what stands for characters that a charset lacks."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def hits(canaries: Iterable[Canary], outputs: Mapping[str, bytes]) -> list[Hit]:
    """Every canary that an output holds, once a form; compressed parts of outputs are looked into."""
    found = [
        hit
        for output, content in outputs.items()
        for layer in layers(content)
        for canary in canaries
        for hit in _in_one(canary, output, layer)
    ]
    return list(dict.fromkeys(found))


class Layer(NamedTuple):
    """An output as it is searched."""

    lower: bytes
    """Its bytes in lower case."""
    pieces: set[int]
    """All four bytes in a row that it has: what has pieces that are not among them need not be searched for."""
    stripped: str
    """Its text without accents; empty where that is the same."""
    numbers: set[bytes]
    """Its numbers, whole and with a fraction."""
    runs: str
    """Its runs of digits, without separators."""


def _pieces(content: bytes, start: int) -> memoryview:
    """Four bytes and four bytes, as numbers."""
    return memoryview(content)[start : start + (len(content) - start) // 4 * 4].cast("I")


def layers(content: bytes) -> Iterator[Layer]:
    """The output itself, and what is compressed within."""
    for layer in (content, *_unpacked(content)):
        lower = layer.lower()
        stripped = "" if layer.isascii() else strip(layer.decode("utf-8", "replace"))
        pieces = {piece for start in range(4) for piece in _pieces(lower, start)}
        numbers = {*_WHOLE.findall(lower), *_FRACTION.findall(lower)}
        yield Layer(lower, pieces, stripped, numbers, _digit_runs(lower))


_WHOLE = re.compile(rb"[0-9]+")
_FRACTION = re.compile(rb"[0-9]+\.[0-9]+(?:e\+[0-9]+)?")
_RUN = re.compile(rb"[0-9](?:[0-9]|[ .\-/()+]{1,3}(?=[0-9]))*")
_SEPARATORS = re.compile(rb"[^0-9]+")


def _digit_runs(content: bytes) -> str:
    """All long runs of digits, without the separators that people put between them."""
    return "\n".join(_SEPARATORS.sub(b"", run[0]).decode() for run in _RUN.finditer(content) if len(run[0]) >= SHORTEST)


def _in_one(canary: Canary, output: str, layer: Layer) -> Iterator[Hit]:
    for needle, form, pieces in canary.grams:
        if layer.pieces >= pieces and needle in layer.lower:
            yield Hit(canary.name, form, output)
    for text, form in canary.stripped.items():
        if text in layer.stripped or (not layer.stripped and text.encode() in layer.lower):
            yield Hit(canary.name, form, output)
    if canary.numbers & layer.numbers:
        yield Hit(canary.name, "number", output)
    if canary.digits and canary.local in layer.runs:
        yield Hit(canary.name, "digits with separators", output)


_PACKED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_MOST = 64 * 1024 * 1024


@lru_cache(maxsize=4)
def _unpacked(content: bytes) -> tuple[bytes, ...]:
    """What is behind every beginning of gzip or zlib, as far as it can be read."""
    found = []
    for start in _PACKED.finditer(content):
        try:
            reader = zlib.decompressobj(wbits=47)  # either of the two
            text = reader.decompress(content[start.start() :], _MOST)
        except zlib.error:
            continue
        if len(text) >= SHORTEST:
            found += [text, *_unpacked(text)]
    return tuple(found)


def forms(canaries: Iterable[Canary]) -> int:
    """How many different byte strings are searched for."""
    return len({needle for canary in canaries for needle in (*canary.needles, *canary.stripped)})


NAME = Canary(
    "name",
    "Quitéria D'Ávila Zwölfkirch",
    number=402_938_571_664_201,
    small=1_402_938_572,
    parts=("Quitéria", "Zwölfkirch", "Quitéria D'Ávila"),
)
PHONE = Canary(
    "phone",
    "5511987340621",
    number=5511987340621,
    small=1_987_340_622,
    spellings=(
        "+5511987340621",
        "+55 11 98734-0621",
        "+55 (11) 98734-0621",
        "(11) 98734-0621",
        "11 98734 0621",
        "98734-0621",
        "987340621",
        "11987340621",
    ),
)
JID = Canary("JID", "5521976458803@s.whatsapp.net", number=5521976458803, small=1_976_458_804, parts=("5521976458803",))
CPF = Canary(
    "CPF",
    "864.209.157-41",
    number=86420915741,
    small=1_864_209_158,
    spellings=("86420915741", "864209157-41", "864 209 157 41", "864.209.157"),
)
EMAIL = Canary(
    "e-mail",
    "q.zwoelf+clinica@exemplo-canario.com.br",
    number=719_220_458_113_906,
    small=1_719_220_458,
    parts=("q.zwoelf+clinica", "exemplo-canario"),
)
BIRTH = Canary(
    "birth date",
    "29/07/1931",
    number=193_107_290_000_017,
    small=1_931_072_918,
    spellings=(
        "29-07-1931",
        "29.07.1931",
        "29 07 1931",
        "1931-07-29",
        "1931/07/29",
        "1931.07.29",
        "07/29/1931",
        "29071931",
        "19310729",
        "29 de julho de 1931",
        "July 29, 1931",
        "29 Jul 1931",
        "-1212796800",  # seconds since 1970
    ),
)
TEXT = Canary(
    "message",
    'Dói o "peito" há 3 dias \\ tomei <Rivotrilzeta> & não passou 🫀\nobrigadíssima',
    number=331_870_092_654_481,
    small=1_331_870_092,
    parts=("Rivotrilzeta", "obrigadíssima", "tomei <Rivotrilzeta>"),
)
APIKEY = Canary("apikey", "B6D7Kf9QxWzT-4nP1vLc8hY3", number=648_301_277_590_113, small=1_648_301_278)
BEARER = Canary(
    "bearer token",
    "eyJhbGciOiJIUzI1NiJ9.eyJhcHAiOiJjYW5hcnkifQ.s1gN4tUr3k9Zx-_QpLmVbT7w",
    number=558_114_903_226_877,
    small=1_558_114_904,
    parts=("s1gN4tUr3k9Zx-_QpLmVbT7w", "eyJhcHAiOiJjYW5hcnkifQ"),
)
CANARIES = (NAME, PHONE, JID, CPF, EMAIL, BIRTH, TEXT, APIKEY, BEARER)


def packed(text: bytes) -> dict[str, bytes]:
    """The same bytes compressed in the ways that are looked into."""
    return {"gzip": gzip.compress(text), "zlib": zlib.compress(text)}
