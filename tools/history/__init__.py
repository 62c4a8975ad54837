"""Floor 3: a day of samples, played, recorded or real."""
