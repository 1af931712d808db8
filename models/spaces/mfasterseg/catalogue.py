"""The operators of M-FasterSeg's networks: FasterSeg's, and attention."""

from __future__ import annotations

from collections.abc import Iterator

from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.parameters import MAX_BRANCHES, SCALES
from models.spaces.mfasterseg.parameters import MFasterSegParameters
from models.spec.architectures import SpaceSpec
from models.spec.operators import OperatorSpec


class AttentionCatalogue(Catalogue):
    """Makes the operators of one space at its input size; see `Catalogue`."""

    def __init__(self, spec: SpaceSpec, parameters: MFasterSegParameters) -> None:
        super().__init__(spec, parameters)
        self._attention_parameters = parameters

    def branch_end(self, scale: int, head_width: int) -> tuple[OperatorSpec, ...]:
        """Attention on the output of a branch that ends at that scale, where the space has it."""
        if not self._attention_parameters.branch_attention:
            return ()
        return (self._attention(scale, self._attention_parameters.channels(scale, head_width)),)

    def before_classifier(self, branches: int, head_width: int) -> tuple[OperatorSpec, ...]:
        """Attention on the fused map of so many branches, where the space has it."""
        if not self._attention_parameters.fused_attention:
            return ()
        return (self._attention(SCALES[0], branches * self._attention_parameters.channels(SCALES[0], head_width)),)

    def grid(self) -> Iterator[OperatorSpec]:
        yield from super().grid()
        for head_width in self._attention_parameters.head_widths:
            for scale in SCALES:
                yield from self.branch_end(scale, head_width)
            for branches in range(1, MAX_BRANCHES + 1):
                yield from self.before_classifier(branches, head_width)

    def _attention(self, scale: int, channels: int) -> OperatorSpec:
        parameters = self._attention_parameters
        attributes = {"rounds": parameters.rounds, "reduction": parameters.reduction, "shared": bool(parameters.shared)}
        return self._operator("adaptive_attention", scale, channels, channels, attributes=attributes)
