"""PgBouncer, Debian's, in transaction mode before a stack's PostgreSQL."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tools.base.wait import until
from tools.stack import databases
from tools.stack.ports import Ports

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@contextmanager
def pooler(folder: Path, connections: int) -> Iterator[str]:
    """Run one with so few connections to PostgreSQL, and without help for prepared statements; yields its URL."""
    server = databases.postgres(folder)
    port = Ports.free().service
    text = f"""
[databases]
{databases.DATABASE} = host={server.sockets} port={databases.PORT} user={databases.DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
"""
    if version() >= (1, 21):  # before, there was no such help
        text += "max_prepared_statements = 0\n"
    config = server.data.parent / "pgbouncer.ini"  # where PostgreSQL's user can read it
    config.write_text(text, "utf-8")
    config.chmod(0o644)
    log = config.with_suffix(".log")
    assert PROGRAM
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([PROGRAM, str(config)], stderr=output, **databases.as_account(server.account))
    url = f"postgresql://{databases.DATABASE}@127.0.0.1:{port}/{databases.DATABASE}"
    try:
        until(lambda: _answers(url), "PgBouncer answers")
        yield url
    finally:
        process.terminate()
        process.wait()


def version() -> tuple[int, int]:
    """Of the installed one."""
    assert PROGRAM
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, encoding="utf-8", check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    assert found
    return int(found[1]), int(found[2])


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, prepare_threshold=None) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True
