"""Floor 2: what the repository's files say."""
