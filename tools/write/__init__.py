"""Floor 4: the generated pages."""
