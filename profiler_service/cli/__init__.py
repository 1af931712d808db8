"""The `profiler-service` command (DESIGN.md §8)."""
