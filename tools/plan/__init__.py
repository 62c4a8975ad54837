"""`make plan`: what does an edit of the Collector's YAML change? Both versions run, and what comes out is compared."""
