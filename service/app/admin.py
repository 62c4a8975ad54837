"""Operator's commands: `python -m app.admin erase|dead|replay`, with the service's environment."""

import argparse
import asyncio

from app.observability.logs import configure_logs, starting
from app.outbox.queue import dead_jobs, replay_dead
from app.settings import Settings
from app.storage.cache import Cache
from app.storage.database import Pool, open_pool


async def erase(patient: str, pool: Pool, cache: Cache) -> dict[str, int]:
    """Remove a patient's messages, jobs, memories and record; how many rows of each.

    Jobs first: one in work is locked until it is settled, so that its memory is there to be deleted afterwards.
    """
    statements = {
        "jobs": "delete from jobs where patient = $1",
        "messages": "delete from messages where patient = $1",
        "memories": "delete from memories where payload->>'user_id' = $1",
        "patients": "delete from patients where patient = $1",
    }
    async with pool.acquire() as connection, connection.transaction():
        erased = {
            name: int((await connection.execute(statement, patient, timeout=60)).split()[-1])
            for name, statement in statements.items()
        }
    await cache.client.delete(f"bundle:{patient}")
    return erased


async def run(arguments: argparse.Namespace) -> str:
    """Do one command; what to print."""
    with starting():
        settings = Settings()
        configure_logs(settings.log_level)
        pool = await open_pool(settings, 1)
        cache = Cache(settings.redis_url.get_secret_value())
    try:
        if arguments.command == "erase":
            erased = await erase(arguments.patient, pool, cache)
            return "erased: " + ", ".join(f"{count} {name}" for name, count in erased.items())
        if arguments.command == "replay":
            return f"{await replay_dead(pool)} dead jobs run again"
        dead = await dead_jobs(pool)
        return "dead jobs: " + (", ".join(f"{count} {kind}" for kind, count in dead.items()) or "none")
    finally:
        await cache.close()
        await pool.close()


def main() -> None:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="python -m app.admin", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    patient = commands.add_parser("erase", help="remove one patient's messages, jobs and memories")
    patient.add_argument("patient", help="digits of the phone number, country code first, or the …@lid id")
    commands.add_parser("dead", help="count the jobs that were given up")
    commands.add_parser("replay", help="run the jobs that were given up again")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
