"""The command line: every verb has help, a wrong word is answered with the right one, and the docs are the parser's."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tools import cli
from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.cli import SECTIONS, clinic, run
from tools.commands import status
from tools.write import commands_page

CALLED = ".venv/bin/python .venv/bin/clinic"
VERBS = [verb for verbs in SECTIONS.values() for verb in verbs]


def tree(group: click.Group = clinic, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb, and those within it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from tree(command, (*path, name))


TREE = dict(tree())


def test_every_verb_is_a_file_and_every_file_a_verb() -> None:
    files = {file.stem for file in (ROOT / "tools" / "commands").glob("*.py")} - {"__init__"}
    assert sorted(VERBS) == sorted(files)
    assert [TREE[verb,].name for verb in VERBS] == VERBS


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_verb_and_each_of_its_options_has_help(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(clinic, [*path, "--help"], "clinic")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: clinic {' '.join(path)} ")
    for option in TREE[path].params:
        assert not isinstance(option, click.Option) or option.help, option.name
    assert TREE[path].help


def test_the_list_has_every_verb_with_the_first_line_of_its_help() -> None:
    shown = CliRunner().invoke(clinic, ["--help"], terminal_width=100).output
    for verb in VERBS:
        [line] = re.findall(rf"^  {verb} +(.*)$", shown, re.MULTILINE)
        assert line == (TREE[verb,].help or "").partition("\n")[0]


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_wrong_option_is_refused_by_every_verb(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    if path == ("run",):  # options are those of the command that it runs
        return
    assert run([*path, "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["stauts"], "No such command 'stauts'. (Did you mean one of: 'restart', 'status'?)"),
        (["plan", "--pictur", "a.svg"], "No such option '--pictur'. Did you mean '--picture'?"),
        (["logs", "redi"], "there is no component redi; did you mean redis"),
        (["programs", "promtol"], "there is no program promtol; did you mean promtool"),
        (["slow", "prise"], "there is no lane prise; did you mean price?"),
        (["silence", "HighErorRate"], "there is no alert HighErorRate; did you mean HighErrorRate"),
        (["mutants", "rule"], "'rule' is not one of 'collector', 'rules', 'dashboards'"),
        (["restart"], "Missing argument 'COMPONENT'"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert answer in capsys.readouterr().err


def test_what_cannot_be_done_is_one_line_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise ToolError("nothing [here] is\tas it should be: make up")

    monkeypatch.setattr(status.command, "callback", refused)
    assert run(["status"]) == 1
    assert capsys.readouterr().err == "clinic: nothing [here] is\tas it should be: make up\n"


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status.command, "callback", interrupted)
    assert run(["status"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


@pytest.mark.parametrize("signal", ["TERM", "HUP", "INT"])
def test_whoever_ends_a_command_interrupts_it(signal: str) -> None:
    code = (
        "import os, signal\n"
        # A shell's background job ignores them, and so would its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from tools import cli; from tools.commands import status\n"
        f"status.command.callback = lambda: os.kill(os.getpid(), signal.SIG{signal})\n"
        "import sys; sys.argv[1:] = ['status']; cli.main()"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 130


def completed(words: list[str], incomplete: str) -> list[str]:
    found = ShellComplete(clinic, {}, "clinic", "_CLINIC_COMPLETE").get_completions(words, incomplete)
    return [one.value for one in found]


def test_verbs_options_and_names_are_completed() -> None:
    assert completed([], "un") == ["unsilence"]
    assert completed(["plan"], "--p") == ["--picture"]
    assert completed(["silence"], "HighW") == ["HighWebhookLatency"]
    assert completed(["restart"], "otel") == ["otel-collector"]
    assert completed(["slow"], "pri") == ["price"]


def test_the_page_of_commands_is_what_the_parser_says() -> None:
    assert (ROOT / commands_page.PAGE).read_text("utf-8") == commands_page.page(clinic, SECTIONS)


def test_there_is_no_other_parser_and_no_other_console() -> None:
    files = {str(file.relative_to(ROOT / "tools")): file.read_text("utf-8") for file in (ROOT / "tools").rglob("*.py")}
    assert [name for name, text in files.items() if re.search("argparse|getopt", text)] == []
    drawn = {"plan/timeline.py", "write/plans.py"}  # into a picture, and into a page
    assert {name for name, text in files.items() if re.search(r"\bConsole\(", text)} - drawn == {"base/console.py"}
    errors = re.findall(r"^class (\w+)\((?:\w+Error|Exception)\)", "\n".join(files.values()), re.MULTILINE)
    assert sorted(errors) == ["CannotRunError", "PrometheusError", "SourceError", "ToolError"]


# make


def make(*words: str) -> list[str]:
    """What it would run."""
    command = ("make", "--no-print-directory", "--dry-run", *words)
    shown = subprocess.check_output(command, cwd=ROOT, text=True)
    return [" ".join(line.split()) for line in shown.splitlines()]


def test_make_lists_every_target() -> None:
    text = re.sub(r"\\\n", "", (ROOT / "Makefile").read_text("utf-8"))
    [more] = re.findall(r"^MORE := (.*)$", text, re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    shown = subprocess.check_output(("make", "--no-print-directory"), cwd=ROOT, text=True).split()
    assert {*phony.replace("$(MORE)", more).split()} <= {*shown}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["restart", "S=otel-collector"], 'restart "$S"'),
        (["logs"], "logs"),
        (["load", "N=500", "RATE=50", "SEED=7"], 'load --messages "$N" --rate "$RATE" --seed "$SEED"'),
        (["silence", "ALERT=A", "FOR=2h", "WHY=Ana mends it"], 'silence "$ALERT" --for "$FOR" --why "$WHY"'),
        (["dashboards-pull", "UID=a", "AS=b"], 'dashboards pull "$UID" --as "$AS"'),
        (["preview", "FROM=day", "ARGS=--start 30m"], 'preview "$FROM" --start 30m'),
        (["drill", "ALERT=all"], 'drill "$ALERT"'),
    ],
)
def test_make_passes_its_variables_on(words: list[str], command: str) -> None:
    assert make(*words)[-1] == f"{CALLED} {command}"


def test_make_passes_no_variable_of_the_environment_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ID", "debian")
    assert make("trace")[-1] == f"{CALLED} trace"


def test_the_script_is_the_projects(tmp_path: Path) -> None:
    assert re.search(r'^clinic = "tools\.cli:main"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    script = Path(sys.executable).with_name("clinic")
    shown = subprocess.check_output([script, "--help"], cwd=tmp_path, text=True)
    assert shown.startswith("Usage: clinic ")
    assert cli.COMMANDS.exists()
