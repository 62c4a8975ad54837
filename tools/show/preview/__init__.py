"""The dashboards, drawn without Grafana."""
