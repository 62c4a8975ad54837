"""The one kind of failure that the tools tell those who use them."""


class ToolError(Exception):
    """Something cannot be done; the text says in a sentence why, and what to do. The command line ends with 1."""


class CannotRunError(ToolError):
    """A version of the files cannot be run or evaluated: a program refuses it, or there is no history to try it on."""
