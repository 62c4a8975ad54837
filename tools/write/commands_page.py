"""The page of all verbs and options, from the parser itself."""

from collections.abc import Iterator, Mapping, Sequence

import click

PAGE = "docs/commands.md"
_HEAD = """# Commands

<!-- Written by `make docs` from the parser; a test compares. -->

`.venv/bin/clinic VERB …`, or `make VERB`, which installs it first. `. .venv/bin/activate` puts `clinic` on the path;
`eval "$(_CLINIC_COMPLETE=bash_source clinic)"` completes verbs, options and names in bash, `zsh_source` in zsh.

Exit codes: 0 done; 1 it cannot be done, or something is wrong; 2 no such verb or option, and a plan that changes
something; 130 interrupted.
"""


def page(root: click.Group, sections: Mapping[str, Sequence[str]]) -> str:
    """docs/commands.md, for a command line whose verbs are in these sections."""
    top = click.Context(root, info_name=root.name)
    parts = [_HEAD]
    for title, verbs in sections.items():
        parts.append(f"## {title}\n")
        for verb in verbs:
            command = root.get_command(top, verb)
            if command is None:
                raise KeyError(verb)
            parts += _entry(command, click.Context(command, top, verb))
    return "\n".join(parts)


def _entry(command: click.Command, context: click.Context) -> Iterator[str]:
    """A verb, and those within it."""
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    yield f"### `{context.command_path} {usage}".rstrip() + "`\n"
    yield "\n\n".join(" ".join(text.split()) for text in (command.help or "").split("\n\n")) + "\n"
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts]
    records = [record for one in options if (record := one.get_help_record(context))]
    if records:
        yield "\n".join(f"- `{names}`: {text}" for names, text in records) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if within := command.get_command(context, name):
                yield from _entry(within, click.Context(within, context, name))
