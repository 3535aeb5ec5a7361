"""Watches what the export has brought: usage, data sources, reports and dashboards; rules, alerts and notices."""
