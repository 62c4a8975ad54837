"""`python -m simulator serve` plays what the backend talks to, `python -m simulator load` the patients who write."""

import argparse
import asyncio
import math
import secrets
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from simulator.entry import run
from simulator.load import Report, send_async
from simulator.messages import stream
from simulator.settings import SettingMissingError, setting

if TYPE_CHECKING:
    from uvicorn import Server


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options) if options.command == "serve" else _load(options)
    except SettingMissingError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|load")
    serve = commands.add_parser("serve", help="Evolution's REST API and an OpenAI-compatible model, on one port")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=8085, help="port to listen on (%(default)s)")
    serve.add_argument(
        "--traffic", type=_traffic, metavar="RATE", help="also send RATE messages a second, without end (0: none)"
    )
    load = commands.add_parser(
        "load",
        help="send messages, and compare with what Prometheus counted",
        description="Sends messages as Evolution API does, prints how they were answered by lane and status, then "
        "waits until Prometheus shows the same numbers. Exits with 0 if it does. A seed repeats the same messages, "
        "ids too: sent again, they are duplicates.",
    )
    load.add_argument("--messages", type=_count, default=200, metavar="N", help="how many (%(default)s)")
    load.add_argument("--rate", type=_rate, default=20.0, metavar="R", help="messages a second (%(default)s)")
    load.add_argument("--seed", type=int, help="same seed, same messages (default: a new one, printed)")
    load.add_argument("--forever", action="store_true", help="no end and no comparison; waits for a service not yet up")
    load.add_argument("--no-verify", action="store_true", help="do not compare with Prometheus")
    load.add_argument("--quiet", action="store_true", help="print the last line only")
    load.add_argument("--url", help="the service (SERVICE_URL)")
    load.add_argument("--secret", help="the webhook's secret (WEBHOOK_SECRET)")
    return parser


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _traffic(text: str) -> float:
    return 0.0 if text == "0" else _rate(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _load(options: argparse.Namespace) -> int:
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    url = (options.url or setting("SERVICE_URL")).rstrip("/")
    secret = options.secret or setting("WEBHOOK_SECRET")
    if options.forever:
        asyncio.run(send_async(stream(seed, everyday=True), url, secret, options.rate))
    # Each command imports its own: the image that serves has no rich, and loading shall not wait for FastAPI.
    from rich.console import Console

    from simulator import console as terminal
    from simulator.counts import PrometheusError

    plan = terminal.Plan(
        messages=options.messages,
        rate=options.rate,
        seed=seed,
        url=url,
        secret=secret,
        prometheus_url=setting("PROMETHEUS_URL") if not options.no_verify else "",
        verify=not options.no_verify,
        quiet=options.quiet,
    )
    try:
        return 0 if terminal.run(plan, Console(highlight=False)) else 1
    except (terminal.LoadError, PrometheusError) as error:
        return _fail(error)


def _serve(options: argparse.Namespace) -> int:
    import uvicorn

    from simulator.server import create_app

    app = create_app(setting("EVOLUTION_API_KEY"))
    # As the service, it leaves idle connections for its clients to close.
    config = uvicorn.Config(
        app, options.host, options.port, log_level="warning", access_log=False, timeout_keep_alive=75
    )
    traffic = None
    if options.traffic:
        deliveries = stream(secrets.randbelow(1_000_000), everyday=True)
        traffic = send_async(deliveries, setting("SERVICE_URL"), setting("WEBHOOK_SECRET"), options.traffic)
    print(f"simulator: starting on http://{options.host}:{options.port}", flush=True)
    asyncio.run(_until_stopped(uvicorn.Server(config), traffic))
    return 0


async def _until_stopped(server: "Server", traffic: Coroutine[Any, Any, Report] | None) -> None:
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(traffic) if traffic else None
        await server.serve()
        if sending:
            sending.cancel()


def _fail(error: Exception) -> int:
    print(f"simulator: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    run(main)
