"""What a search space says of its search, and of the training of what is found: phases, optimisers, schedules, losses, weights.

Plain data. The client's configurations (`nas_client.search.config`, `nas_client.train.config`) are made of these records, and
its commands begin with those of the space at hand. The records' own defaults are FasterSeg's, from its paper or its published
code.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.spec.base import Record
from models.spec.errors import InvalidSpecError

Side = Annotated[int, Field(ge=32, le=4096)]
Crop = tuple[Side, Side]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Batch = Annotated[int, Field(ge=1, le=4096)]
Epochs = Annotated[int, Field(ge=0, le=100_000)]
TrainedEpochs = Annotated[int, Field(ge=1, le=100_000)]
Direction = Literal["student_teacher", "teacher_student"]
AuxiliaryHeads = Literal["ends", "published"]

PUBLISHED_WEIGHTS = (0.001, 0.997, 0.002)
"""w1, w2, w3 of FasterSeg, for its own space and device (§3.2)."""

OHEM_THRESHOLD = 0.7
"""Pixels whose true class has at most this probability are hard (FasterSeg's published code)."""

OHEM_MIN_SHARE = 1 / 16
"""Of all pixels of a batch, this share counts at the least, the hardest first (FasterSeg's published code)."""


Schedule = Literal["poly", "exponential", "cosine", "constant"]

Granularity = Literal["alpha", "beta", "gamma"]


class Scheduled(Record):
    """How a learning rate falls over a phase of n steps.

    Attributes:
        schedule: `poly`, by (1 − step/n)^power to 0; `cosine`, by half a cosine to 0; `exponential`, by the factor `decay`
            after each epoch; `constant`, not at all.
        power: of the poly schedule.
        decay: of the exponential schedule. The defaults, 0.978 in a search and 0.992 in training, are of FasterSeg's published
            code.
    """

    schedule: Schedule = "poly"
    power: Annotated[float, Field(ge=0, le=10)] = 0.9
    decay: Annotated[float, Field(gt=0, le=1)] = 0.978


Method = Literal["sgd", "adam"]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Momentum, Momentum]


class Stepping(Scheduled):
    """How gradients become steps.

    Attributes:
        method: `sgd`, or `adam`.
        lr: at the start.
        momentum: of SGD.
        betas: Adam's two decay rates.
        weight_decay: of either: times the weights, what is added to their gradients.
    """

    method: Method = "sgd"
    lr: Positive
    momentum: Momentum = 0.9
    betas: Betas = (0.9, 0.999)
    weight_decay: NotNegative = 5e-4


class WeightOptimizer(Stepping):
    """The optimiser of the supernet's weights.

    Attributes:
        clip_norm: largest norm of all gradients together.
    """

    clip_norm: Positive = 5.0


class PretrainOptimizer(WeightOptimizer):
    """The optimiser of pre-training."""

    lr: Positive = 0.02


class SearchOptimizer(WeightOptimizer):
    """The optimiser of the search."""

    lr: Positive = 0.01


class ArchitectureOptimizer(Stepping):
    """The optimiser of the logits of α, β and γ.

    Attributes:
        deviation: of the normal distribution that the first logits are drawn from.
    """

    schedule: Schedule = "constant"
    method: Method = "adam"
    lr: Positive = 3e-4
    betas: Betas = (0.5, 0.999)
    weight_decay: NotNegative = 0.0
    deviation: NotNegative = 1e-3


class PretrainSettings(Record):
    """The phase that trains weights alone.

    Attributes:
        epochs: over trainA; 0 leaves the phase out.
        batch_size: images in a batch, over all processes.
        crop: height and width of what is cut from an image, pixels.
        random_widths: further passes of random widths, beside the narrowest and the widest.
        optimizer: of the weights.
    """

    epochs: Epochs = 20
    batch_size: Batch = 3
    crop: Crop = (256, 512)
    random_widths: Annotated[int, Field(ge=0, le=16)] = 2
    optimizer: PretrainOptimizer = PretrainOptimizer()


class SearchSettings(Record):
    """The phase that trains weights on trainA and architecture parameters on trainB.

    Attributes:
        epochs: over trainA; 0 leaves the phase out.
        batch_size: images in a batch, over all processes.
        crop: height and width of what is cut from an image, pixels.
        warmup_epochs: how many of the epochs train weights alone; α, β, γ and λ stay as they are until then.
        searches: which granularities are trained. One that an earlier phase has searched, and this one does not, is decided:
            its most probable choices are taken, and nothing else is computed where they are operators.
        temperature: τ of the Gumbel-softmax that samples widths.
        width_gradients: where γ's straight-through factors stand: at the map that an operator writes (`output`), or at the one
            that it reads as well (`both`, as in FasterSeg's published code).
        optimizer: of the weights.
        architecture: the optimiser of α, β, γ.
    """

    epochs: Epochs = 30
    warmup_epochs: Epochs = 0
    batch_size: Count = 2
    crop: Crop = (224, 448)
    searches: Annotated[tuple[Granularity, ...], Field(min_length=1)] = ("alpha", "beta", "gamma")
    temperature: Positive = 1.0
    width_gradients: Literal["output", "both"] = "output"
    optimizer: SearchOptimizer = SearchOptimizer()
    architecture: ArchitectureOptimizer = ArchitectureOptimizer()

    @model_validator(mode="after")
    def _ends_warm(self) -> Self:
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise InvalidSpecError(
                f"warmup_epochs is {self.warmup_epochs} of {self.epochs} epochs, so that nothing would be searched",
                hint=f"Set warmup_epochs to {self.epochs - 1} or fewer, or raise epochs.",
            )
        return self


class SecondSearchSettings(SearchSettings):
    """A second search, after the first: such as that of paths between cells that are found. Left out by default."""

    epochs: Epochs = 0


class LatencySettings(Record):
    """The student's latency loss.

    Attributes:
        mode: `decoupled`, the three weighted terms; `naive`, the relaxed latency as one term; `none`.
        factor: λ, by which the latency in ms enters the student's loss.
        weights: w1, w2, w3 of the decoupled terms, or `solved`: those that balance the table's sensitivities.
        widths: γ in expectation, or as one Gumbel sample a step.
        target_ms: estimate of the found network that λ is moved for after each epoch: doubled where the network is slower,
            halved where it is faster; λ stays where null.
        band: relative distance from the target within which λ stays. FasterSeg's published code, which aims at 155 to 175
            frames a second, has 6 % around 165.
    """

    mode: Literal["decoupled", "naive", "none"] = "decoupled"
    factor: NotNegative = 0.01
    weights: Literal["solved"] | tuple[NotNegative, NotNegative, NotNegative] = PUBLISHED_WEIGHTS
    widths: Literal["expected", "gumbel"] = "expected"
    target_ms: Positive | None = None
    band: Annotated[float, Field(gt=0, lt=1)] = 0.06

    @field_validator("weights")
    @classmethod
    def _not_nothing(cls, weights: str | tuple[float, float, float]) -> str | tuple[float, float, float]:
        if weights != "solved" and not any(weights):
            raise InvalidSpecError("weights are all 0, so that there is no latency loss", hint="Take mode none for that.")
        return weights

    @model_validator(mode="after")
    def _movable(self) -> Self:
        if self.target_ms is not None and self.mode == "none":
            raise InvalidSpecError(
                f"target_ms is {self.target_ms:g}, but mode is none, so that no loss leads to it",
                hint="Take mode decoupled, or leave target_ms out.",
            )
        if self.target_ms is not None and self.factor == 0:
            raise InvalidSpecError(
                f"factor is 0, which stays 0 when it is doubled; target_ms is {self.target_ms:g}",
                hint="Start from a positive factor, such as 0.01, or leave target_ms out.",
            )
        return self


class OptimizerConfig(Stepping):
    """The optimiser of a training.

    Attributes:
        warmup_steps: over which the learning rate rises to that of the schedule.
        clip_norm: largest norm of all gradients together; None leaves them as they are.
    """

    lr: Annotated[float, Field(gt=0, le=10)] = 0.01
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    decay: Annotated[float, Field(gt=0, le=1)] = 0.992
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Positive | None = 5.0


class HardPixels(Record):
    """Online hard example mining, see `hard_pixel_cross_entropy`."""

    threshold: Fraction = OHEM_THRESHOLD
    min_share: Fraction = OHEM_MIN_SHARE


LossKind = Literal["cross_entropy", "dice"]
"""What is lost on labelled pixels: cross-entropy on the hard ones, or the Dice loss on all."""


class LossConfig(Record):
    """The loss: segmentation + auxiliary · that of the auxiliary heads + distillation · the divergence from the teacher, where
    there is one.

    Attributes:
        kind: of the segmentation loss, the auxiliary heads' too.
        hard_pixels: which pixels count in cross-entropy.
        auxiliary: weight of each auxiliary head's loss; 0 builds no heads.
        auxiliary_heads: what they see: the end of each coarse branch (`ends`); or what those of the space's authors saw
            (`published`). In FasterSeg's code the head at 1/16 sees the last map at 1/16 of the branch that ends at 1/32, too.
        distillation: weight of the divergence.
        teacher_temperature, direction: of the divergence, see `distillation`.
    """

    kind: LossKind = "cross_entropy"
    hard_pixels: HardPixels = HardPixels()
    auxiliary: Annotated[float, Field(ge=0, le=100)] = 0.2
    auxiliary_heads: AuxiliaryHeads = "ends"
    distillation: Annotated[float, Field(gt=0, le=100)] = 1.0
    teacher_temperature: Positive = 1.0
    direction: Direction = "student_teacher"


class TrainingDefaults(Record):
    """The training of a network that was found.

    Attributes:
        epochs, batch_size, crop, optimizer, losses: as in the configuration of a training.
    """

    epochs: TrainedEpochs = 600
    batch_size: Batch = 12
    crop: Crop | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    losses: LossConfig = LossConfig()


class SearchDefaults(Record):
    """What a search in a space begins with, where neither a file nor an option says otherwise.

    Attributes:
        pretrain, search, second: the phases.
        latency: the loss of the role that sees latency. Weights are solved for the table: published ones are another space's.
        loss: the kind of the search's segmentation loss.
        hard_pixels: which pixels count in cross-entropy.
        image_scale: by which every image of the search is resized.
        training: of what is found.
    """

    pretrain: PretrainSettings = PretrainSettings()
    search: SearchSettings = SearchSettings()
    second: SecondSearchSettings = SecondSearchSettings()
    latency: LatencySettings = LatencySettings(weights="solved")
    loss: LossKind = "cross_entropy"
    hard_pixels: HardPixels = HardPixels()
    image_scale: Annotated[float, Field(gt=0, le=4)] = 0.5
    training: TrainingDefaults = TrainingDefaults()
