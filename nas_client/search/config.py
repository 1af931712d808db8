"""The configuration of a co-search. Defaults are the paper's, or, where it says nothing, its published code's. The commands
begin with those of the space that is searched instead (`models.spaces.search_defaults`).

Source: FasterSeg, Appendix F.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.spaces.search_defaults import ArchitectureOptimizer as ArchitectureOptimizer
from models.spaces.search_defaults import (
    Batch,
    HardPixels,
    LossKind,
    OptimizerConfig,
    Positive,
    SecondSearchSettings,
    TrainedEpochs,
)
from models.spaces.search_defaults import Count as Count
from models.spaces.search_defaults import Crop as Crop
from models.spaces.search_defaults import LatencySettings as LatencySettings
from models.spaces.search_defaults import PretrainSettings as PretrainSettings
from models.spaces.search_defaults import SearchSettings as SearchSettings
from models.spaces.search_defaults import WeightOptimizer as WeightOptimizer
from models.spec.architectures import SpaceSpec
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.data.base import DataSettings, EvaluationBatch, Workers
from nas_client.search.objective import EXPONENT, TARGET_MS


class EvaluationSettings(Record):
    """How the supernet's mIoU is taken.

    Attributes:
        split: images it is taken on: `val`, the validation split; `selection`, the training images that a selection would look
            at (`selection.images`), on which no weights are trained, so that networks can be judged on the validation split.
        every: epochs of search between two evaluations; the last epoch is always evaluated.
        batch_size: images in a batch; images of different sizes need 1.
        images: of the split, from the first on; all where null.
        statistics_batches: training batches over which batch normalisation's statistics are taken anew for the evaluated
            mixture: the training's own are of other widths and earlier weights.
    """

    split: Literal["val", "selection"] = "val"
    every: Count = 1
    batch_size: EvaluationBatch = 1
    images: Count | None = None
    statistics_batches: Annotated[int, Field(ge=1, le=100_000)] = 16


class ShortTraining(Record):
    """The training by which selected networks are ranked again, from random weights.

    Attributes:
        epochs: over the training images without those of selection.
        batch_size, crop: those of `pretrain` where null.
        optimizer: of the weights.
    """

    epochs: TrainedEpochs = 5
    batch_size: Batch | None = None
    crop: Crop | None = None
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.05)


class SelectionSettings(Record):
    """How discrete networks are selected from a supernet by evolution.

    Attributes:
        latency_ms: targets. Each gets a population, a shortlist and a network of its own.
        front: whether the whole front of accuracy and latency is looked for as well; it is where there are no targets.
        sigmas: a network meets a target if its estimate and this many standard errors of it do.
        images: training images on which candidates are evaluated. No weights are trained on them, and they are not those of the
            validation split, on which networks are judged in the end.
        distillation: weight, while a supernet is trained for ranking, of the divergence from its widest network.
        population, generations: candidates of the first generation, and further generations of as many.
        parents: best candidates so far, of which a generation comes.
        mutation: probability with which a mutation changes a row.
        crossovers: share of a generation that comes of two parents.
        shortlist: best candidates of each target that are trained shortly; 0 takes the best by the supernet.
        check: candidates of the first generation, evenly spread over its ranking, that are trained shortly together with the
            shortlist: they tell whether the supernet ranks networks at all.
        training: those short trainings.
    """

    latency_ms: tuple[Positive, ...] = ()
    front: bool = False
    sigmas: Annotated[float, Field(ge=0, le=10)] = 1.0
    images: Count = 64
    distillation: Annotated[float, Field(ge=0, le=100)] = 1.0
    population: Annotated[int, Field(ge=2, le=100_000)] = 50
    generations: Annotated[int, Field(ge=0, le=10_000)] = 9
    parents: Annotated[int, Field(ge=1, le=100_000)] = 20
    mutation: Annotated[float, Field(gt=0, le=1)] = 0.1
    crossovers: Annotated[float, Field(ge=0, le=1)] = 0.5
    shortlist: Annotated[int, Field(ge=0, le=1000)] = 8
    check: Annotated[int, Field(ge=0, le=1000)] = 6
    training: ShortTraining = ShortTraining()

    @field_validator("latency_ms")
    @classmethod
    def _each_once(cls, targets: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{target:g}" for target in targets}) < len(targets):
            raise InvalidSpecError("targets must differ, in the six digits that name them")
        return targets


class SearchConfig(Record):
    """A search.

    Attributes:
        method: `gradient`, a search of the space's roles at once by architecture parameters; `evolution`, a supernet that is
            trained for ranking (`pretrain`), and a selection from it. `search` and `latency` say nothing then.
        seed: everything random follows from it.
        space: the search space that the table must be of; the table's own where null.
        data: which data set.
        check_data: look at every image and label before the first step.
        image_scale: by which every image is resized; 0.5 as in the paper.
        scales: one of which, at random, is a further factor in training.
        label_stride: of how many pixels in each direction one gives the label of the losses. 1 compares at full resolution; 8
            leaves out the upsampling of the scores, which takes a large part of a step where the supernet is small.
        workers: processes that read images.
        precision: `bfloat16` computes passes in mixed precision; weights stay in float32.
        compile: whether the supernet's operators are compiled: minutes at the start, for faster steps on a GPU.
        checkpoint_steps: steps after which the state is saved within an epoch, too; at the end of epochs alone where null.
        loss: kind of the segmentation loss; `hard_pixels` says which pixels count in cross-entropy.
        heads: the alternatives that are predicted in every pass, as `8,32`; where empty, those that the search may end in.
            FasterSeg's published code has 8; 16; 32; 8,32 and 16,32. An alternative without a head is never chosen.
        decode: options of the space's decoding, by name (`SearchSpace.decode_options`), for the networks that are decoded.
        target_ms, exponent: T and w of the choice among alternatives, ACC·(LAT/T)^w.
    """

    method: Literal["gradient", "evolution"] = "gradient"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    space: SpaceSpec | None = None
    data: DataSettings = DataSettings()
    check_data: bool = True
    image_scale: Annotated[float, Field(gt=0, le=4)] = 0.5
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.75, 1.0, 1.25)
    label_stride: Literal[1, 2, 4, 8] = 1
    workers: Workers = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    checkpoint_steps: Count | None = None
    pretrain: PretrainSettings = PretrainSettings()
    search: SearchSettings = SearchSettings()
    second: SecondSearchSettings = SecondSearchSettings()
    latency: LatencySettings = LatencySettings()
    loss: LossKind = "cross_entropy"
    hard_pixels: HardPixels = HardPixels()
    evaluation: EvaluationSettings = EvaluationSettings()
    selection: SelectionSettings = SelectionSettings()
    heads: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    decode: Mapping[str, bool | int | float | str] = {}
    target_ms: Positive = TARGET_MS
    exponent: float = EXPONENT

    @field_validator("space")
    @classmethod
    def _with_defaults(cls, space: SpaceSpec | None) -> SpaceSpec | None:
        from models.spaces.registry import create_space

        return None if space is None else create_space(space).spec

    def epochs(self, phase: Literal["pretrain", "search", "second"]) -> int:
        """How many epochs a phase has. With method `evolution` there is no gradient search."""
        if phase == "pretrain":
            return self.pretrain.epochs
        if self.method == "evolution":
            return 0
        return self.search.epochs if phase == "search" else self.second.epochs

    @model_validator(mode="after")
    def _cache_in_this_process(self) -> Self:
        self.data.require_workers(self.workers)
        return self

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.method == "gradient" and not self.pretrain.epochs + self.search.epochs + self.second.epochs:
            raise InvalidSpecError("pretrain.epochs, search.epochs and second.epochs are all 0: nothing is left to do")
        return self

    def require_trained(self, *, pretrained: bool) -> None:
        """Raises InvalidSpecError where networks would be selected from a supernet that is never trained.

        Args:
            pretrained: whether the weights are another search's.
        """
        if self.method == "evolution" and not (pretrained or self.pretrain.epochs):
            raise InvalidSpecError(
                "pretrain.epochs: 0, but method evolution trains its supernet in these alone",
                hint="Set pretrain.epochs, or take another search's weights by --pretrained.",
            )

    @model_validator(mode="after")
    def _of_a_gradient_search(self) -> Self:
        stated = {
            "heads": bool(self.heads),
            "latency.target_ms": self.latency.target_ms is not None,
            "search.warmup_epochs": bool(self.search.warmup_epochs),
            "second.warmup_epochs": bool(self.second.warmup_epochs),
        }
        for name, given in stated.items():
            if given and self.method == "evolution":
                raise InvalidSpecError(f"{name} is stated, but method evolution does not use it", hint="Leave it out.")
        return self
