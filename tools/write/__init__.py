"""Floor 5: the generated pages."""
