"""The `profiler-service` command (docs/guide.md)."""
