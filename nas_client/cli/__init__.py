"""The `nas-client` command (docs/reference/commands.md)."""
