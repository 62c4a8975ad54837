"""The one command line: `clinic VERB …`. Each verb is a file in tools/commands/."""

import ast
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from simulator import entry
from tools.base.errors import ToolError

COMMANDS = Path(__file__).parent / "commands"
SECTIONS = {
    "The stack": ("up", "down", "restart", "status", "logs", "run", "clean"),
    "Messages": ("load", "dead", "replay", "erase"),
    "Watch": ("trace", "slow", "why", "alerts", "silence", "unsilence", "preview", "bench"),
    "Change": ("check", "plan", "drill", "mutants", "docs", "dashboards"),
    "Programs": ("programs", "audit"),
}


class Verbs(click.Group):
    """Reads a verb's file when the verb is asked for, so that none waits for what another imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of their sections."""
        _ = ctx
        return [verb for verbs in SECTIONS.values() for verb in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name; None if there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        verb: click.Command = import_module(f"tools.commands.{cmd_name}").command
        return verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, which knows only those that are read already."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs by section."""
        width = max(map(len, self.list_commands(ctx)))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), _first_line(verb)) for verb in verbs])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs and options that begin so."""
        verbs = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=_first_line(name)) for name in verbs), *options]


def _first_line(verb: str) -> str:
    """Of a verb's help, which is its file's docstring, read without what the file imports."""
    text = (COMMANDS / f"{verb}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def clinic() -> None:
    """Run, watch, change and prove the clinic's backend and its observability.

    Completion of verbs, options and names, for bash (for zsh with zsh_source):
    eval "$(_CLINIC_COMPLETE=bash_source clinic)"
    """


def run(arguments: list[str] | None = None) -> int:
    """Run a verb; returns the exit code.

    0: done. 1: it cannot be done, or something is wrong. 2: no such verb or option; a plan that changes something. 130:
    interrupted.
    """
    try:
        return clinic.main(arguments, "clinic", standalone_mode=False) or 0
    except ToolError as error:
        print(f"clinic: {error}", file=sys.stderr)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print("Interrupted.", file=sys.stderr)
        return 130


def main() -> NoReturn:
    """Run a verb and exit. Whoever ends it interrupts it: what is half up is taken down."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    entry.run(run)


if __name__ == "__main__":
    main()
