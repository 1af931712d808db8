"""`python -m profiler_service.gpu_check`: `profiler-service gpu-check` for a box where nothing is installed.

Spawned workers import this module first, so that it imports nothing but on the way.
"""

from __future__ import annotations


def main() -> None:
    """Run the command of this process's arguments; never returns."""
    import typer

    from models.terminal import run
    from profiler_service.cli.machine_checks import gpu_check

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command("gpu-check")(gpu_check)
    run(app)


if __name__ == "__main__":
    main()
