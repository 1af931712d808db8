from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nas_client.data.base import DataSettings, Sample, SegmentationDataset
from nas_client.data.datasets import SyntheticStreets, open_dataset
from nas_client.data.loading import Share, evaluation_batches, require_one_size, split_halves, training_batches
from nas_client.data.parts import PartOfDataset
from nas_client.data.transforms import Batch, EvaluationTransform, TrainTransform
from nas_client.errors import DatasetError
from tests.support.data_layouts import write_folder

TRANSFORM = TrainTransform((16, 24))


@pytest.fixture(scope="module")
def streets() -> SegmentationDataset:
    return open_dataset(DataSettings(image_size=(32, 48), train_images=10), "train")


def _epoch(dataset: SegmentationDataset, epoch: int = 0, *, seed: int = 0, **chosen: object) -> list[Batch]:
    arguments = {"batch_size": 4, "seed": seed, "epoch": epoch, **chosen}
    return list(training_batches(dataset, TRANSFORM, **arguments))


def _same(first: list[Batch], second: list[Batch]) -> bool:
    def tensors(batches: list[Batch]) -> list[Tensor]:
        return [tensor for batch in batches for tensor in batch]

    return len(first) == len(second) and all(map(torch.equal, tensors(first), tensors(second)))


def test_an_epoch_follows_from_its_seed_and_number(streets: SegmentationDataset) -> None:
    batches = _epoch(streets)
    assert [batch.images.shape for batch in batches] == [(4, 3, 16, 24)] * 2
    torch.manual_seed(1)  # no generator of torch's or numpy's has a say
    assert _same(batches, _epoch(streets))
    assert not _same(batches, _epoch(streets, 1))
    assert not _same(batches, _epoch(streets, seed=1))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12 on, of every fork under torch
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a single core
def test_worker_processes_change_nothing(streets: SegmentationDataset) -> None:
    assert _same(_epoch(streets), _epoch(streets, workers=2))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_keeps_its_message_and_hint(workers: int) -> None:
    """Whichever process reads the images."""

    class Damaged(SyntheticStreets):
        def read(self, index: int) -> Sample:
            raise DatasetError(f"image {index} is damaged", hint="Unpack it again.")

    damaged = Damaged.open(DataSettings(image_size=(32, 48)), "val")
    for batches in (
        evaluation_batches(damaged, EvaluationTransform(), indices=[7], workers=workers),
        training_batches(damaged, TRANSFORM, batch_size=1, seed=0, epoch=0, indices=[7], workers=workers),
    ):
        with pytest.raises(DatasetError) as caught:
            next(iter(batches))
        assert (caught.value.message, caught.value.hint) == ("image 7 is damaged", "Unpack it again.")


@pytest.fixture
def mixed(tmp_path: Path) -> SegmentationDataset:
    """Three images, the last of another size."""
    sizes = {"val/a": (6, 8), "val/b": (6, 8), "val/c": (6, 9)}
    write_folder(tmp_path, {name: np.zeros(size, np.uint8) for name, size in sizes.items()})
    return open_dataset(DataSettings(name="folder", root=tmp_path), "val")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_sizes_do_not_fit_into_a_batch(mixed: SegmentationDataset, workers: int) -> None:
    assert len(list(evaluation_batches(mixed, EvaluationTransform(), workers=workers))) == 3
    batches = iter(evaluation_batches(mixed, EvaluationTransform(), batch_size=2, indices=[0, 1, 1, 2], workers=workers))
    assert next(batches).images.shape == (2, 3, 6, 8)
    with pytest.raises(DatasetError, match=r"images of 6×8 and 6×9 .* one batch of 2") as caught:
        next(batches)
    assert "validation.batch_size" in caught.value.hint


def test_different_sizes_are_found_before_images_are_read(mixed: SegmentationDataset, streets: SegmentationDataset) -> None:
    with pytest.raises(DatasetError, match=r"some\.field: 2, but images of folder have different sizes, such as 6×8 and 6×9"):
        require_one_size(mixed, 2, "some.field")
    part = PartOfDataset(mixed, [1, 2])
    with pytest.raises(DatasetError, match="different sizes") as caught:
        require_one_size(part, 2, "some.field")
    assert caught.value.hint == "Set some.field to 1."
    require_one_size(mixed, 1, "some.field")
    require_one_size(mixed, 2, "some.field", indices=[0, 1])
    require_one_size(streets, 2, "some.field")


def test_an_epoch_is_resumed_where_it_stopped(streets: SegmentationDataset) -> None:
    assert _same(_epoch(streets)[1:], _epoch(streets, skip=1))
    assert _epoch(streets, skip=2) == []


def test_processes_share_each_batch(streets: SegmentationDataset) -> None:
    """Side by side, their shares are the batches of one process."""
    shares = [_epoch(streets, share=Share(rank, 2)) for rank in range(2)]
    joined = [Batch(*map(torch.cat, zip(*batches, strict=True))) for batches in zip(*shares, strict=True)]
    assert _same(joined, _epoch(streets))


def test_the_same_image_differs_between_epochs(streets: SegmentationDataset) -> None:
    first, second = (_epoch(streets, epoch, indices=[3], batch_size=1) for epoch in range(2))
    assert not _same(first, second)


def test_batches_that_cannot_be_are_refused(streets: SegmentationDataset) -> None:
    with pytest.raises(DatasetError, match="10 images do not fill a batch of 11"):
        _epoch(streets, batch_size=11)
    with pytest.raises(DatasetError, match="batches of 4 cannot be shared by 3 processes"):
        _epoch(streets, share=Share(0, 3))


def test_halves_are_disjoint_and_whole() -> None:
    first, second = split_halves(101, seed=3)
    assert sorted(first + second) == list(range(101))
    assert abs(len(first) - len(second)) == 1
    assert (first, second) == split_halves(101, seed=3)
    assert first != split_halves(101, seed=4)[0]
    assert first != tuple(range(50))


def test_only_the_images_of_a_half_are_trained_on(streets: SegmentationDataset) -> None:
    half, _ = split_halves(len(streets), seed=0)
    transform = EvaluationTransform()
    batches = training_batches(streets, transform, batch_size=5, seed=0, epoch=0, indices=half)
    allowed = torch.stack([batch.images[0] for batch in evaluation_batches(streets, transform, indices=half)])
    (batch,) = batches
    for image in batch.images:
        assert (image == allowed).flatten(1).all(dim=1).sum() == 1


def test_evaluation_sees_every_image_once_in_order(streets: SegmentationDataset) -> None:
    transform = EvaluationTransform()
    whole = torch.cat([batch.labels for batch in evaluation_batches(streets, transform, batch_size=4)])
    expected = torch.stack([torch.from_numpy(streets.sample(index).labels).long() for index in range(10)])
    assert torch.equal(whole, expected)
    shares = [list(evaluation_batches(streets, transform, share=Share(rank, 3))) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 3, 3]
    assert torch.equal(shares[1][1].labels[0], expected[4])


def test_kept_samples_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And change nothing."""
    settings = DataSettings(image_size=(32, 48), train_images=10)
    kept, drawn = (open_dataset(settings.model_copy(update={"cache": cache}), "train") for cache in (True, False))
    assert _same([*_epoch(kept), *_epoch(kept, 1)], [*_epoch(drawn), *_epoch(drawn, 1)])

    def nothing(index: int) -> None:
        raise AssertionError(f"sample {index} is read again")

    monkeypatch.setattr(kept, "read", nothing)
    assert _same(_epoch(kept), _epoch(drawn))
