"""Floor 5: one file a verb: words in, text out."""
