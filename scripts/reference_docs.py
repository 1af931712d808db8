"""Writes docs/reference/: commands, settings, exit codes, HTTP, backends and files, from the code that they describe.

python -m scripts.reference_docs            # writes the pages
python -m scripts.reference_docs --check    # ends with 1 where one is out of date

Nothing on the pages depends on the machine, on the terminal or on the release: change help texts and docstrings, not the pages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.spec.errors import ExitCode
from scripts.column_docs import grid, member_docs
from scripts.reference_backends import backends_page
from scripts.reference_commands import commands_page, settings_page
from scripts.reference_files import files_page
from scripts.reference_http import http_page
from scripts.reference_markup import MADE, code, page

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

INTERRUPTED = (
    "130",
    "Interrupted by Ctrl-C. A command that measures, searches or trains ends so on SIGTERM too. It keeps what it has: "
    "a command that measures goes on when it is given again, the others with `--resume`.",
)
"""No member of `ExitCode`: the shell's own number."""


def exit_codes_page() -> str:
    """docs/reference/exit-codes.md."""
    rows = [*((code(value), text) for value, text in member_docs(ExitCode).items()), (code(INTERRUPTED[0]), INTERRUPTED[1])]
    parts = [
        "# Exit codes",
        MADE.format(source="`ExitCode` in `models/spec/errors.py`"),
        "All commands of both packages end with one of these.",
        grid(("code", "meaning"), rows),
        "With `--require`, codes 3 and 4 go before 6.",
    ]
    return page(parts)


PAGES = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "exit-codes.md": exit_codes_page,
    "http.md": http_page,
    "backends.md": backends_page,
    "files.md": files_page,
}
"""Files in docs/reference to what makes them."""


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, made in PAGES.items():
        path = FOLDER / name
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made(), encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != made():
            sys.exit(f"{path} is out of date; write it with python -m scripts.reference_docs")


if __name__ == "__main__":
    main()
