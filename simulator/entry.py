"""How each command begins and ends: any terminal shows what it prints, what the machine refuses is a sentence."""

import io
import locale
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and exit with its code: 1 for what the system refuses, told in one line; 130 for Ctrl-C."""
    speak_the_terminals_encoding()
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except OSError as error:
        module = Path(sys.argv[0])
        print(f"{module.parent.name if module.stem == '__main__' else module.stem}: {refusal(error)}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def speak_the_terminals_encoding() -> None:
    """Of what is printed, replace what the terminal's encoding lacks; Python's UTF-8 mode knows it no more."""
    terminals = locale.getencoding()
    plain = terminals.lower() in ("ansi_x3.4-1968", "ascii", "us-ascii", "646")  # nobody has chosen one
    encoding = None if plain or os.environ.get("PYTHONIOENCODING") else terminals
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell closed it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors="replace")


def refusal(error: OSError) -> str:
    """What was refused, why, and whose it is where that is the reason."""
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    said = f"{place}: {error.strerror}" if place else str(error.strerror or error)
    if isinstance(error, PermissionError) and place:
        said += _owner(Path(place))
    return said


def _owner(path: Path) -> str:
    for nearest in (path, *path.parents):
        try:
            uid = nearest.stat().st_uid
        except OSError:
            continue
        if uid == os.geteuid():
            return ""
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"user {uid}"
        return f" ({'it' if nearest == path else nearest} belongs to {name})"
    return ""
