"""Words of the command line that are a name out of a list."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem


class OneOf(click.ParamType[str]):
    """A name out of a list that is read when it is needed; a wrong one is answered with those spelled alike."""

    def __init__(self, name: str, names: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self._names = names

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself. Raises click.BadParameter."""
        names = list(self._names())
        if value not in names:
            near = get_close_matches(value, names, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
            self.fail(f"there is no {self.name} {value}; {hint}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that begin so."""
        _ = ctx, param
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]
