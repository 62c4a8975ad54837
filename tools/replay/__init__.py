"""Floor 3: spans through a real Collector."""
