"""Floor 2: the processes that run, and where they are reached."""
