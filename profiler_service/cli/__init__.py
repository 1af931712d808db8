"""The `profiler-service` command (docs/reference/commands.md)."""
