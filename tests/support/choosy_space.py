"""A toy space with alternatives whose labels are names, decode options of its own, and a search and training unlike ours."""

from __future__ import annotations

from typing import ClassVar, Literal

from models.spaces.base import DecodeOptions, Probabilities, Role
from models.spaces.registry import register_space
from models.spaces.search_defaults import SearchDefaults
from models.spec.architectures import ArchitectureSpec
from tests.support.toy_space import KINDS, ToySpace


class ChoosyOptions(DecodeOptions):
    """A listed value, a flag and a number."""

    rules: Literal["ours", "published"] = "ours"
    """Whose rules to decode by: the published ones keep the second-best operator everywhere."""

    skipless: bool = False
    """Whether the first operator stands in for every skip."""

    shift: int = 0
    """By how many edges the choices are rotated."""


@register_space
class ChoosySpace(ToySpace):
    """Its second alternative has the operators of the first in reverse."""

    name: ClassVar[str] = "choosy"
    description: ClassVar[str] = "Named alternatives and options, for tests"
    alternatives_label: ClassVar[str] = "direction"
    decode_options: ClassVar[type[DecodeOptions]] = ChoosyOptions
    search_defaults: ClassVar[SearchDefaults] = SearchDefaults.parse(
        {
            "loss": "dice",
            "search": {"optimizer": {"method": "adam", "lr": 1e-3}},
            "training": {"epochs": 7, "optimizer": {"method": "adam", "lr": 2e-3}, "losses": {"kind": "dice"}},
        }
    )

    def alternatives(self) -> tuple[str, ...]:
        return ("ahead", "back")

    def _decode(self, probabilities: Probabilities, alternative: str, role: Role, options: ChoosyOptions) -> ArchitectureSpec:
        place = -2 if options.rules == "published" else -1
        kinds = [KINDS[row.argsort()[place]] for rows in probabilities["alpha"].values() for row in rows]
        if options.skipless:
            kinds = ["conv3x3" if kind == "skip" else kind for kind in kinds]
        kinds = kinds[options.shift :] + kinds[: options.shift]
        spec = self.spec.model_dump(include={"input_size", "classes", "batch", "dtype"})
        genotype = {"operators": kinds if alternative == "ahead" else kinds[::-1]}
        return ArchitectureSpec(space=self.name, genotype=genotype, **spec)
