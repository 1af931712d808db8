"""Names of files that the folder of every run has, search and training alike."""

from __future__ import annotations

CONFIG = "config.yaml"
"""The configuration, every field stated."""

RESULT = "result.json"
"""How the run ended."""
