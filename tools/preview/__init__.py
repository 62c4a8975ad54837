"""Dashboards drawn from their own JSON and a Prometheus' answers, without Grafana."""
