"""Floor 6: one file a verb: words in, text out."""
