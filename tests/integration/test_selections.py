"""A selection from a toy search of every space but FasterSeg's, by the commands. Times of operators are computed.

FasterSeg's own selections are tested in tests/unit/nas_client/search/test_selection.py, a plugin's in test_dag_plugin.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.spaces.registry import create_space, read_architecture
from models.spec.architectures import SpaceSpec
from models.spec.table_files import TableFormat, write_table
from nas_client.estimates import estimate
from nas_client.selection.candidates import CANDIDATES, read_candidates
from nas_client.selection.outcome import FRONT, SelectionResult
from nas_client.table import LookupTable
from tests.support.client_command import Command, command_fixture
from tests.support.fake_service import make_table
from tests.support.one_thread import one_thread_fixture

__all__ = ["command_fixture", "one_thread_fixture"]

SPACES = {
    "mfasterseg": SpaceSpec(
        name="mfasterseg", input_size=(64, 64), parameters={"layers": 3, "base_channels": 3, "widths": (4, 8)}
    ),
    "rspnet": SpaceSpec(
        name="rspnet",
        input_size=(32, 64),
        parameters={"layers": 1, "stack": 2, "part": 2, "base_width": 4, "stem_width": 4, "scales": 2},
    ),
    "search_net": SpaceSpec(
        name="search_net",
        input_size=(32, 32),
        classes=2,
        parameters={"base_channels": 4, "levels": 2, "nodes": 2, "operators": (3, 5, 7)},
    ),
}
DATA = {"mfasterseg": "synthetic_streets", "rspnet": "synthetic_streets", "search_net": "synthetic_pets"}
CONFIG = """\
data: {{name: {data}, image_size: [{height}, {width}], train_images: 4, val_images: 1, cache: true}}
image_scale: 1.0
scales: [1.0]
check_data: false
pretrain: {{epochs: 0, batch_size: 2, crop: [32, 32], random_widths: 0}}
search: {{epochs: 1, batch_size: 2, crop: [32, 32]}}
second: {{epochs: 0}}
evaluation: {{statistics_batches: 1}}
selection:
  images: 2
  population: 4
  generations: 1
  parents: 2
  shortlist: 1
  check: 4
  training: {{epochs: 1}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SPACES))
def test_every_space_is_selected_from(nas_client: Command, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = create_space(SPACES[name])
    table = LookupTable(make_table(space.spec))
    write_table(table.table, Path("table.arrow"), TableFormat.ARROW)
    height, width = space.spec.input_size
    Path("search.yaml").write_text(CONFIG.format(data=DATA[name], height=height, width=width))
    rng = np.random.default_rng(0)
    random_ms = [estimate(space.network_of(space.random_choices(rng)), table).sum_ms for _ in range(20)]
    targets = [float(f"{np.quantile(random_ms, share):.3g}") for share in (0.5, 0.9)]

    def done(*words: object) -> dict[str, Any]:
        ended = nas_client(*words, "--json")
        assert ended.code == 0, f"{words}\n{ended.err}"
        found: dict[str, Any] = ended.document
        return found

    done("search", "--table", "table.arrow", "--config", "search.yaml", "-o", "found")
    words = [word for target_ms in targets for word in ("--latency-ms", target_ms)]
    result = SelectionResult.parse(done("select", "found", "--table", "table.arrow", "-o", "selected", *words, "--front"))

    assert result.finished
    assert set(result.chosen) == {*(f"{target_ms:g} ms" for target_ms in targets), "front"}
    role, selected = space.searched_role().name, Path("selected")
    for target_ms in targets:
        path = selected / f"{role}-{target_ms:g}ms.json"
        network = read_architecture(path.read_bytes(), str(path))
        assert network == result.chosen[f"{target_ms:g} ms"].architecture
        assert estimate(network, table).sum_ms <= target_ms
    candidates = read_candidates(selected / CANDIDATES)
    assert len(candidates) == result.evaluated
    assert len({space.settled(candidate.choices) for candidate in candidates}) == len(candidates) > 4
    for candidate in candidates:
        assert candidate.architecture == space.network_of(candidate.choices)
        assert 0 <= candidate.accuracy <= 1
    front = json.loads((selected / FRONT).read_text())["front"]
    assert [point["accuracy"] for point in front] == [candidate.accuracy for candidate in result.front] != []
    # the self-check: the supernet's ranking against short trainings
    assert len(result.trained) >= 4
    told = " ".join(result.warnings)
    if result.rank_correlation is None:
        assert "too few, or too alike" in told
    else:
        assert -1 <= result.rank_correlation <= 1
        assert ("not to be relied on" in told) == (result.rank_correlation < 0.4)
