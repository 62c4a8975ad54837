"""Floor 1: files, waiting, OTLP; knows nothing of this project."""
