"""What a folder says of the run that it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas_client.errors import RunFolderError
from nas_client.runs.manifest import FORMAT, RUN, begin_run, is_begun, read_manifest, require_run


def test_a_folder_is_begun_as_what_it_then_says(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    assert not is_begun(folder)
    begin_run(folder, "validation")
    assert is_begun(folder)
    manifest = read_manifest(folder)
    assert (manifest.kind, manifest.format) == ("validation", FORMAT)
    assert json.loads((folder / RUN).read_text()).keys() == {"kind", "format", "version"}
    require_run(folder, "validation")
    before = (folder / RUN).read_bytes()
    begin_run(folder, "validation")
    assert (folder / RUN).read_bytes() == before


def test_another_kind_is_refused(tmp_path: Path) -> None:
    begin_run(tmp_path, "search")
    for refused in (begin_run, require_run):
        with pytest.raises(RunFolderError, match="holds a run of kind search, not training"):
            refused(tmp_path, "training")
    assert read_manifest(tmp_path).kind == "search"


def test_a_folder_without_the_file_is_refused_and_the_hint_says_how_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"holds no run: there is no run\.json") as caught:
        read_manifest(tmp_path)
    assert '"kind": "search"' in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON document"),
        ("[]", "a run folder of format None; this release reads format 1"),
        ('{"kind": "search", "format": 2, "version": "9", "more": 1}', "a run folder of format 2; this release reads format 1"),
        ('{"kind": "party", "format": 1, "version": "0.1.0"}', "party"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / RUN).write_text(text)
    with pytest.raises(RunFolderError, match=message):
        read_manifest(tmp_path)
