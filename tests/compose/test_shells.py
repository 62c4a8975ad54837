"""What the shell lines in docker-compose.yaml do, run by a shell."""

import os
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.compose.conftest import ROOT, Model
from tests.compose.test_compose_file import CHECK, mounts
from tools.stack import programs


def test_links_of_notifications_follow_grafanas_port(services: dict[str, Model], tmp_path: Path) -> None:
    entry = [
        word.replace("/run/links", str(tmp_path)).replace("$$", "$") for word in services["alertmanager"]["entrypoint"]
    ]
    assert entry[:2] == ["sh", "-c"]
    program = tmp_path / "alertmanager"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    templates = ROOT / "alertmanager" / "templates" / "*.tmpl"
    rendered = []
    for port in ("33000", ""):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GRAFANA_PORT": port}
        (tmp_path / "links.tmpl").unlink(missing_ok=True)
        run = subprocess.run([*entry, "--one"], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout == "--one\n"
        globs = [f"--template.glob={glob}" for glob in (templates, tmp_path / "*.tmpl")]
        text = '--template.text={{ template "healthcare.grafana" . }}'
        amtool = [str(programs.ensure("amtool")), "template", "render", *globs, text]
        rendered.append(subprocess.run(amtool, capture_output=True, text=True, check=True).stdout.strip())
    assert rendered == ["http://127.0.0.1:33000", "http://127.0.0.1:3000"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the containers' user")
def test_a_file_that_containers_may_not_read_is_named_with_its_mend(services: dict[str, Model]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        inside = [folder / "files" / "grafana" / "grafana.ini", folder / "files" / "grafana", folder / "secrets"]
        inside[1].mkdir(parents=True)
        inside[2].mkdir()
        inside[0].touch()
        text = " ".join(services[CHECK]["command"][2].split())
        line = re.sub(r"(?<!\w)/(files|secrets)\b", lambda found: name + found[0], text)

        def check() -> subprocess.CompletedProcess[str]:
            shell = ["sh", "-c", line.replace("$$", "$")]
            return subprocess.run(
                shell, user=65534, group=65534, extra_groups=(), capture_output=True, text=True, check=False
            )

        assert (check().returncode, check().stdout) == (0, "")
        for path in inside:
            path.chmod(0o700)
            refused = check()
            assert (refused.returncode, str(path) in refused.stdout) == (1, True)
            assert "chmod -R a+rX alertmanager grafana" in refused.stderr
            path.chmod(0o755)


def test_every_folder_that_programs_read_is_looked_at_before(services: dict[str, Model]) -> None:
    read = {name: {m["source"] for m in mounts(services[name], "bind")} for name in services}
    assert read.pop(CHECK) == {source for sources in read.values() for source in sources}
    waiting = {name for name in services if CHECK in services[name].get("depends_on", {})}
    assert waiting == {name for name, sources in read.items() if sources}
