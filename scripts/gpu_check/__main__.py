"""`python -m scripts.gpu_check`. Spawned workers import this module first, so that it imports nothing but on the way."""

from __future__ import annotations

import sys


def main() -> int:
    """The command; its exit code."""
    from scripts.gpu_check.driver import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
