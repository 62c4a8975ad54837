"""Floor 4: what an edit changes."""
