"""What a space says of its parameters for people, and of where a search starts; all of it has a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.spaces.decoding import DecodeOptions
from models.spaces.probabilities import Probabilities
from models.spaces.roles import Role
from models.spec.architectures import ArchitectureSpec

InitialLogits = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""`{"alpha" | "beta" | "gamma": {group: rows of logits}}`, as in a parameter file."""


@dataclass(frozen=True)
class JointChoice:
    """What several rows of parameters choose together, such as where a branch downsamples.

    Attributes:
        what: is chosen, `where the branch to 1/16 downsamples`.
        count: of how many.
        chosen, second: the most probable and the next, in words; `second` is empty where there is no other.
        probability, second_probability: theirs. Where they are equal, the rule that decides is the space's.
    """

    what: str
    count: int
    chosen: str
    probability: float
    second: str = ""
    second_probability: float = 0.0

    @property
    def tied(self) -> bool:
        """Whether the second is as probable as the chosen, up to rounding."""
        return bool(self.second) and self.second_probability >= self.probability * (1 - 1e-9)


class ParameterExplanations:
    """The part of a search space that explains its parameters."""

    def initial_logits(self) -> InitialLogits:
        """The logits that a search starts from, but for its noise. What is left out starts at 0: all choices of a row are then
        equally probable. A space whose rows decide together states here what makes their joint choices equally probable.
        """
        return {}

    def choice_names(self) -> Mapping[str, Sequence[str]]:
        """What the columns of α, β and γ are called, by granularity. By default they have numbers alone."""
        return {}

    def deciding_rows(
        self,
        probabilities: Probabilities,
        *,
        alternative: str = "",
        role: Role | None = None,
        options: DecodeOptions | None = None,
    ) -> Mapping[str, Mapping[str, Sequence[int]]]:
        """The rows from which a decoded network takes its choices, by granularity and group; arguments as of `decode`. Of a
        granularity that is left out all rows count, as by default of every one.
        """
        return {}

    def layers_of(
        self, probabilities: Probabilities, architecture: ArchitectureSpec, *, role: Role | None = None
    ) -> tuple[tuple[int, ...], ...] | None:
        """As `decoded_layers`, of an architecture that was read off these probabilities by rules which the space no longer has.
        None where it was not, or there is no telling, as by default.
        """
        return None

    def joint_choices(self, probabilities: Probabilities, options: DecodeOptions | None = None) -> tuple[JointChoice, ...]:
        """What rows choose together, where no row decides by itself. By default every row decides by itself.

        Args:
            probabilities: of every choice, as for `decode`; γ may be absent.
            options: by which they are decoded; the defaults where None.
        """
        return ()
