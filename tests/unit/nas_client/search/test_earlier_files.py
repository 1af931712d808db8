"""What a search of an earlier release wrote is read: alternatives by the ends of their branches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.spec.errors import InvalidSpecError
from nas_client.search.epochs import SearchEpoch
from nas_client.search.outcome import Candidate, SearchResult
from tests.support.run_samples import search_epoch, search_result


def earlier(document: Any) -> Any:
    """As that release wrote it."""
    if isinstance(document, list):
        return [earlier(part) for part in document]
    if not isinstance(document, dict):
        return document
    named = {"branches" if name == "alternative" else name: earlier(value) for name, value in document.items()}
    if "alternative" in document:
        named["branches"] = [int(end) for end in document["alternative"].split(",") if end]
    if "chosen" in document:
        named["chosen"] = {role: [int(end) for end in label.split(",")] for role, label in document["chosen"].items()}
    return named


def test_a_journal_and_a_result_of_an_earlier_release_are_read() -> None:
    epoch = search_epoch(1)
    for record in (epoch, search_result(epoch)):
        text = json.dumps(earlier(record.model_dump(mode="json")))
        assert '"branches": [8, 32]' in text
        assert '"alternative"' not in text
        assert type(record).parse_json(text) == record


def test_a_space_without_branches_had_an_empty_list() -> None:
    document = earlier(search_result(search_epoch(1)).candidates["student"][0].model_dump(mode="json"))
    assert Candidate.parse({**document, "branches": []}).alternative == ""


@pytest.mark.parametrize("cls", [SearchEpoch, SearchResult])
def test_what_is_neither_is_refused(cls: type[SearchEpoch] | type[SearchResult]) -> None:
    epoch = search_epoch(1)
    record = epoch if cls is SearchEpoch else search_result(epoch)
    text = json.dumps(record.model_dump(mode="json")).replace('"alternative": "8,32"', '"alternative": 7')
    with pytest.raises(InvalidSpecError, match="alternative"):
        cls.parse_json(text)
