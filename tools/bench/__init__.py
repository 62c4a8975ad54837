"""What telemetry costs, beside what else one could pick: `make bench`."""
