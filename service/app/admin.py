"""Operator's commands: `python -m app.admin erase|dead|replay`, with the service's environment."""

import argparse
import asyncio
import re
from collections.abc import Mapping

from app.conversation.kept import Kept
from app.conversation.pipeline import Pipeline
from app.observability.logs import configure_logs, starting
from app.outbox.queue import dead_jobs, replay_dead
from app.settings import Settings
from app.storage.cache import Cache
from app.storage.database import Pool, open_pool


async def erase(patient: str, pool: Pool, cache: Cache) -> dict[str, int]:
    """Remove a patient's messages, jobs, memories, record, and the kept deliveries that name them; rows of each.

    By number or by hidden id: where both are known, what there is under either goes. Jobs first: one in work is locked
    until it is settled, so that its memory is there to be deleted afterwards.
    """
    statements = {
        "jobs": "delete from jobs where patient = any($1)",
        "messages": "delete from messages where patient = any($1)",
        "memories": "delete from memories where payload->>'user_id' = any($1)",
        "patients": "delete from patients where patient = any($1)",
        "hidden ids": "delete from hidden_ids where lid = any($1)",
        "kept deliveries": "delete from kept where exists (select from unnest($1::text[]) as name"
        " where position(convert_to(split_part(name, '@', 1), 'UTF8') in body) > 0)",
    }
    async with pool.acquire() as connection, connection.transaction():
        names = await connection.fetchval(
            "select array_agg(lid) || array_agg(distinct patient) || $1::text from hidden_ids where patient ="
            " coalesce((select patient from hidden_ids where lid = $1), $1)",
            patient,
        )
        erased = {
            name: int((await connection.execute(statement, names, timeout=60)).split()[-1])
            for name, statement in statements.items()
        }
    await cache.client.delete(*(f"bundle:{name}" for name in names))
    return erased


async def run(arguments: argparse.Namespace) -> str:
    """Do one command; what to print."""
    with starting():
        settings = Settings()
        configure_logs(settings.log_level)
        pool = await open_pool(settings, 1)
        cache = Cache(settings.redis_url.get_secret_value())
        kept = Kept.of(settings, pool)
    try:
        if arguments.command == "erase":
            erased = await erase(arguments.patient, pool, cache)
            return "erased: " + _counted(erased)
        if arguments.command == "replay":
            jobs, outcomes = await replay_dead(pool), await kept.replay(Pipeline.of(settings, pool, cache))
            return f"{jobs} dead jobs run again\nkept deliveries: {_counted(outcomes)}"
        counts, oldest = await kept.counts()
        since = f", the oldest since {oldest:%Y-%m-%d %H:%M} UTC" if oldest else ""
        return f"dead jobs: {_counted(await dead_jobs(pool))}\nkept deliveries: {_counted(counts)}{since}"
    finally:
        await cache.close()
        await pool.close()


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in numbers.items()) or "none"


def _patient(text: str) -> str:
    """A number as it is stored, whichever way somebody writes it, or a hidden id."""
    name = text.strip() if text.strip().endswith("@lid") else re.sub(r"\D", "", text)
    if not re.fullmatch(r"\d{6,}(@lid)?", name):
        raise argparse.ArgumentTypeError("no phone number with its country code, and no …@lid id")
    return name


def main() -> None:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="python -m app.admin", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    patient = commands.add_parser("erase", help="remove all there is of one patient")
    patient.add_argument("patient", type=_patient, help="phone number, country code first, or the …@lid id")
    commands.add_parser("dead", help="count the jobs that were given up and the deliveries that were not understood")
    commands.add_parser("replay", help="try both again")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
