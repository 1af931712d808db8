"""The `nas-client` command (DESIGN.md §8)."""
