"""The one kind of failure that the tools tell those who use them."""


class ToolError(Exception):
    """Something cannot be done; the text says in a sentence why, and what to do. The command line ends with 1."""
