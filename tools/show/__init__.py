"""Floor 3: what a person looks at: traces, alerts, dashboards."""
