"""What a search may take another's pre-trained supernet for: it has not seen the images by which networks are judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.errors import InvalidSpecError
from nas_client.errors import CheckpointError
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import CoSearch, search
from nas_client.search.progress import SearchObserver
from nas_client.search.selection_images import require_unseen
from tests.support.searches import small, small_table


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searches") / "run"
    search(small(search__epochs=0, evaluation__images=1), small_table(), folder)
    return folder


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (small(seed=6), r"\d of this search's 4 images of trainB"),
        (small(seed=6, data__train_images=16), r"\d of this search's 8 images of trainB"),
        (small(seed=7, method="evolution", selection={"images": 2}), r"\d of this search's 2 images of selection"),
    ],
)
def test_pretrained_weights_that_have_seen_the_judging_images_are_refused(
    tmp_path: Path, pretrained: Path, config: SearchConfig, seen: str
) -> None:
    with pytest.raises(CheckpointError, match=f"its supernet was trained on {seen}") as caught:
        CoSearch(config, small_table(), tmp_path / "run", Processes(), SearchObserver()).prepare(
            resume=False, pretrained=pretrained
        )
    assert "same method, seed, data and selection.images" in caught.value.hint


def test_what_pretraining_kept_from_weights_may_judge() -> None:
    """Fewer images of selection are some of those that were kept before; images of another data set were never seen."""
    evolution = small(method="evolution", selection={"images": 3})
    require_unseen(8, small(method="evolution", selection={"images": 2}), evolution, Path())
    require_unseen(8, small(seed=6, data__seed=1), evolution, Path())
    require_unseen(8, evolution, small(), Path())
    for later in (small(method="evolution", selection={"images": 4}), small()):
        with pytest.raises(CheckpointError, match="its supernet was trained on 1 of this search's 4"):
            require_unseen(8, later, evolution, Path())


def test_an_evolution_trains_its_supernet_or_takes_a_trained_one(tmp_path: Path, pretrained: Path) -> None:
    config = small(method="evolution", pretrain__epochs=0, selection={"images": 2})
    untrained, taken = (
        CoSearch(config, small_table(), tmp_path / name, Processes(), SearchObserver()) for name in ("one", "two")
    )
    with pytest.raises(InvalidSpecError, match=r"pretrain\.epochs: 0, but method evolution") as caught:
        untrained.prepare(resume=False, pretrained=None)
    assert caught.value.hint.startswith("Set pretrain.epochs")
    assert not (tmp_path / "one").exists()
    taken.prepare(resume=False, pretrained=pretrained)
    CoSearch(config, small_table(), tmp_path / "two", Processes(), SearchObserver()).prepare(resume=True, pretrained=None)
