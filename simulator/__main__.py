"""`python -m simulator serve` plays what the backend talks to, `python -m simulator load` the patients who write."""

import asyncio
import math
import secrets
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click

from simulator.entry import run
from simulator.load import Report, send_async
from simulator.messages import stream
from simulator.settings import SimulatorError, setting

if TYPE_CHECKING:
    from uvicorn import Server


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise click.BadParameter(f"{text!r} is not a number above 0")
    return value


def _traffic(text: str) -> float:
    return 0.0 if text == "0" else _rate(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise click.BadParameter(f"{text!r} is not a whole number above 0")
    return int(text)


@click.group("simulator", no_args_is_help=False, help=__doc__)
def simulator() -> None:
    """Its commands are below."""


@simulator.command()
@click.option("--messages", type=_count, default="200", show_default=True, metavar="N", help="How many.")
@click.option("--rate", type=_rate, default="20", show_default=True, metavar="R", help="Messages a second.")
@click.option("--seed", type=int, metavar="S", help="Same seed, same messages; without one a new one, printed.")
@click.option("--forever", is_flag=True, help="No end and no comparison; waits for a service not yet up.")
@click.option("--everyday", is_flag=True, help="Leave out what is kept because nobody understands it.")
@click.option("--no-verify", is_flag=True, help="Do not compare with Prometheus.")
@click.option("--quiet", is_flag=True, help="Print the last line only.")
@click.option("--url", metavar="URL", help="The service (SERVICE_URL).")
@click.option("--secret", metavar="SECRET", help="The webhook's secret (WEBHOOK_SECRET).")
def load(
    messages: int,
    rate: float,
    seed: int | None,
    forever: bool,
    everyday: bool,
    no_verify: bool,
    quiet: bool,
    url: str | None,
    secret: str | None,
) -> int:
    """Send messages, and compare with Prometheus.

    Sends messages as Evolution API does, prints how they were answered by lane and status, then waits until Prometheus
    shows the same numbers. Exits with 0 if it does. A seed repeats the same messages, ids too: sent again, they are
    duplicates.
    """
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    url = (url or setting("SERVICE_URL")).rstrip("/")
    secret = secret or setting("WEBHOOK_SECRET")
    if forever:
        asyncio.run(send_async(stream(seed, everyday=True), url, secret, rate))
    # Each command imports its own: the image that serves has no rich, and loading shall not wait for FastAPI.
    from rich.console import Console

    from simulator import console as terminal

    prometheus_url = "" if no_verify else setting("PROMETHEUS_URL")
    plan = terminal.Plan(messages, rate, seed, url, secret, prometheus_url, not no_verify, quiet, everyday)
    return 0 if terminal.run(plan, Console(highlight=False)) else 1


@simulator.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8085, show_default=True, help="Port to listen on.")
@click.option(
    "--traffic", type=_traffic, metavar="RATE", help="Also send RATE messages a second, without end (0: none)."
)
def serve(host: str, port: int, traffic: float | None) -> None:
    """Play Evolution's REST API and an OpenAI-compatible model, on one port."""
    import uvicorn

    from simulator.server import create_app

    app = create_app(setting("EVOLUTION_API_KEY"))
    # As the service, it leaves idle connections for its clients to close.
    config = uvicorn.Config(
        app, host, port, log_level="warning", access_log=False, timeout_keep_alive=75
    )
    sending = None
    if traffic:
        deliveries = stream(secrets.randbelow(1_000_000), everyday=True)
        sending = send_async(deliveries, setting("SERVICE_URL"), setting("WEBHOOK_SECRET"), traffic)
    print(f"simulator: starting on http://{host}:{port}", flush=True)
    asyncio.run(_until_stopped(uvicorn.Server(config), sending))


async def _until_stopped(server: "Server", traffic: Coroutine[Any, Any, Report] | None) -> None:
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(traffic) if traffic else None
        await server.serve()
        if sending:
            sending.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 1 it cannot be done, or something is wrong, 2 a wrong option."""
    try:
        return simulator.main(arguments, "simulator", standalone_mode=False) or 0
    except click.UsageError as error:
        name = error.ctx.command_path if error.ctx else "simulator"
        print(f"{name}: {error.format_message().rstrip('.')} (see --help)", file=sys.stderr)
        return error.exit_code
    except SimulatorError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    except click.Abort:
        return 130


if __name__ == "__main__":
    run(main)
