"""The `nas-client` command (docs/guide.md)."""
