"""Reading what leaves, as bytes by a name: what the search looks through."""

from pathlib import Path

import httpx

HTTP = httpx.Client(trust_env=False, timeout=30)  # one: each loads all certificates there are
FORMATS = {
    "text": "text/plain",
    "OpenMetrics": "application/openmetrics-text; version=1.0.0",
    "protobuf": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
}


def exposition(url: str) -> dict[str, bytes]:
    """Metrics in every format that Prometheus may ask for, with the answer's headers."""
    found = {}
    for name, accept in FORMATS.items():
        answer = HTTP.get(url, headers={"Accept": accept}).raise_for_status()
        found[f"{url}, metrics as {name}"] = answered(answer)
    return found


def answered(answer: httpx.Response) -> bytes:
    """A whole answer: status line, headers, body."""
    lines = [
        b"%d %s" % (answer.status_code, answer.reason_phrase.encode()),
        *(b": ".join(one) for one in answer.headers.raw),
    ]
    return b"\n".join([*lines, answer.content])


def files(folder: Path) -> dict[str, bytes]:
    """What is written into a folder."""
    return {
        f"file {file.relative_to(folder.parent)}": file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }
