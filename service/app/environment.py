"""The process's environment, settled before any library reads it.

Libraries read some 200 variables, many of them at their import: a propagator that is not installed stops the start, a
temporality makes a counter vanish, a trace level prints headers. So only what the README lists stays, and the rest of
the families below is taken away. `tests/process/test_variables.py` finds what the installed packages read.
"""

import os

KEPT = frozenset(
    {
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_CONSOLE_EXPORTER",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "GRPC_ENABLE_FORK_SUPPORT",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGSSLCERT",
        "PGSSLKEY",
        "PGSSLCRL",
        "MEM0_DIR",
    }
)
FAMILIES = (
    *("OTEL_", "FASTAPI_", "GRPC_", "PG", "ASYNCPG_", "PSYCOPG_", "OPENAI_", "OPENROUTER_", "MEM0_", "POSTHOG_"),
    *("PYDANTIC_", "PROTOCOL_BUFFERS_", "TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK", "NPY_", "NUMPY_", "WRAPT_"),
    "SSLKEYLOGFILE",  # where TLS connections write their keys
)
FIXED = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",  # the stable names; read once, by the first instrumentor
    "MEM0_TELEMETRY": "False",  # its calls home
}
_OF_CLIENTS = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class SettingError(ValueError):
    """A setting can't be used. The text says which one and why, and holds no secret: it is logged."""


def settle() -> None:
    """Take away what is not meant, and set what must be; called by the package's import."""
    for name in list(os.environ):
        if name.startswith(FAMILIES) and name not in KEPT:
            del os.environ[name]
    os.environ.update(FIXED)


def forget_proxies() -> None:
    """Take away the machine's proxies and certificates: for clients that ask the environment and can't be told not to.

    In the worker only; our own clients are told, and the tools want their proxies.
    """
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in _OF_CLIENTS:
            del os.environ[name]
