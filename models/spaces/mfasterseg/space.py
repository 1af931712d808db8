"""M-FasterSeg's search space, as the rest of the project sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from models.networks.structure import NetworkPlan
from models.spaces.base import Probabilities, Role
from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.decoding import FasterSegOptions
from models.spaces.fasterseg.parameters import WITHOUT_JOINS, FasterSegParameters
from models.spaces.fasterseg.space import FasterSegBase
from models.spaces.mfasterseg.catalogue import AttentionCatalogue
from models.spaces.mfasterseg.parameters import AttentionParameters, MFasterSegParameters, with_attention, without_attention
from models.spaces.search_defaults import LatencySettings, PretrainSettings, SearchDefaults, SearchSettings
from models.spec.architectures import ArchitectureSpec, SpaceSpec, foreign_architecture
from models.spec.errors import InvalidSpecError

if TYPE_CHECKING:
    import numpy as np

PUBLISHED_WEIGHTS = (0.001, 0.997, 0.0021)
"""w1, w2, w3 of eq. 13."""

CROP, BATCH = (256, 512), 3
"""Of pre-training and search alike (section 4.3.2)."""


class MFasterSegSpace(FasterSegBase):
    """FasterSeg's space with attention on the output of each branch, on the fused map, on both or on neither.

    Attention is no choice of the search. On a branch it is part of every network, and of the relaxed latency; on the fused map
    it is part of the networks that are trained, and of their estimates.

    Parameters of the spec: see `MFasterSegParameters`.

    Source: M-FasterSeg (Wu et al.), sections 3.1 and 3.2.
    """

    name: ClassVar[str] = "mfasterseg"
    description: ClassVar[str] = "M-FasterSeg: FasterSeg's space with adaptive attention on branches and on the fused map"
    parameters_type: ClassVar[type[FasterSegParameters]] = MFasterSegParameters
    catalogue_type: ClassVar[type[Catalogue]] = AttentionCatalogue
    search_defaults: ClassVar[SearchDefaults] = SearchDefaults(
        pretrain=PretrainSettings(batch_size=BATCH, crop=CROP),
        search=SearchSettings(batch_size=BATCH, crop=CROP),
        latency=LatencySettings(weights=PUBLISHED_WEIGHTS),
    )

    parameters: MFasterSegParameters

    @classmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        if spec.version == WITHOUT_JOINS:
            raise InvalidSpecError(
                f"version: {spec.version} of search space {spec.name!r} does not exist; the only one is {cls.grid_version}",
                hint="Leave the version out.",
            )
        return super().from_spec(spec)

    @classmethod
    def of_architecture(cls, architecture: ArchitectureSpec) -> Self:
        attention = AttentionParameters.of(architecture).model_dump()
        spec = super().of_architecture(without_attention(architecture)).spec
        return cls.from_spec(spec.model_copy(update={"parameters": {**spec.parameters, **attention}}))

    @classmethod
    def completed(cls, architecture: ArchitectureSpec) -> ArchitectureSpec:
        attention = AttentionParameters.of(architecture)
        return with_attention(super().completed(without_attention(architecture)), attention)

    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        self.spec.require_own(architecture)
        own, given = self._attention, AttentionParameters.of(architecture)
        for name in AttentionParameters.model_fields:
            if getattr(given, name) != getattr(own, name):
                raise foreign_architecture(name, getattr(given, name), getattr(own, name))
        return super().plan(without_attention(architecture))

    def without_joins(self) -> None:
        return None

    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        return with_attention(super().sample(rng), self._attention)

    def _decode(
        self, probabilities: Probabilities, alternative: str, role: Role, options: FasterSegOptions
    ) -> ArchitectureSpec:
        return with_attention(super()._decode(probabilities, alternative, role, options), self._attention)

    @property
    def _attention(self) -> AttentionParameters:
        return AttentionParameters.of_space(self.parameters)
