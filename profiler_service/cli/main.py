"""The `profiler-service` console script.

Worker processes are spawned, and a spawned process first imports its parent's main module: this one. So nothing is imported
here but on the way into the command, or each worker would load the web framework and the database before its own work.
"""

from __future__ import annotations


def main() -> None:
    """Run the command of this process's arguments; never returns."""
    from models.terminal import run
    from profiler_service.cli.commands import app

    run(app)
