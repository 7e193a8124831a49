"""What watches syncd: dashboards and alerts, made by this code and held by tests."""
