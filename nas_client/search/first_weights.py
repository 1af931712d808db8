"""From a search's supernet to the first weights of the networks that were decoded from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from models.networks.module import Network
from models.spaces.base import DecodeOptions, Probabilities, Role, SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.supernets.base import Supernet
from nas_client.errors import CheckpointError
from nas_client.latency.parameters import ArchitectureParameters, complete_shapes
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.config import read_config
from nas_client.runs.manifest import CONFIG, require_run
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import LAST
from nas_client.search.derivation import probabilities
from nas_client.search.setup import decode_options


def supernet_weights(folder: Path, space: SearchSpace, role: str, architecture: ArchitectureSpec) -> Callable[[Network], None]:
    """What gives a network of that architecture the weights that it has in the supernet of a search.

    Args:
        folder: of the search.
        space: that it searched.
        role: whose stem and head to take, and whose parameters the architecture was decoded from.
        architecture: as the search, or `derive`, decoded it: by the search's options, or any that the space lists. Of a search
            by evolution any candidate, since these have all cells of the supernet's paths.

    Raises:
        RunFolderError: the folder holds no search.
        CheckpointError: the search has saved nothing, or is of another space.
        UnknownNameError, InvalidSpecError: the search has no such role, or its parameters stand for another architecture.
    """
    require_run(folder, "search")
    whose = space.role(role)
    state = Checkpoints(folder).read(LAST)["learner"]
    supernet = space.supernet()
    try:
        supernet.load_state_dict(state["supernet"])
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: its supernet is not that of {space.spec.label()}: {str(error).splitlines()[-1].strip()}",
            hint="Name the folder of a search, and the table that it searched with.",
        ) from error
    layers = None
    if not _evolved(folder):
        found = searched_probabilities(space, whose, state["networks"][role], supernet)
        layers = _layers(folder, space, whose, found, architecture)
    return lambda network: space.copy_weights(supernet, role, architecture, network, layers=layers)


def searched_probabilities(space: SearchSpace, role: Role, logits: Mapping[str, Tensor], supernet: Supernet) -> Probabilities:
    """What a role's network is decoded from: its saved logits, with what the supernet's statistics add to those of β."""
    given, added = dict(logits), supernet.path_logits()
    if added is not None:
        given["beta"] = given["beta"] + added.to(given["beta"])
    shapes = space.parameter_shapes()
    searched = complete_shapes({**shapes, "gamma": {}} if role.widest else shapes)
    return probabilities(ArchitectureParameters(searched, **given))


def _evolved(folder: Path) -> bool:
    return (folder / CONFIG).exists() and read_config(SearchConfig, folder / CONFIG).method == "evolution"


def _layers(
    folder: Path, space: SearchSpace, role: Role, found: Probabilities, architecture: ArchitectureSpec
) -> tuple[tuple[int, ...], ...] | None:
    """The supernet's layer of each of the architecture's cells; None where it has all."""
    alternative = space.alternative_of(architecture)
    for options in _options(folder, space):
        if space.decode(found, alternative=alternative, role=role, options=options) == architecture:
            return space.decoded_layers(found, alternative=alternative, role=role, options=options)
    if (layers := space.layers_of(found, architecture, role=role)) is not None:
        return layers
    raise InvalidSpecError(
        f"{folder}, {role.name}: its parameters stand for another architecture than {architecture.label()}",
        hint="Take the architecture that this search wrote for this role. Train one whose operators `derive --perturb` decided "
        "from random weights, without --supernet.",
    )


def _options(folder: Path, space: SearchSpace) -> Iterator[DecodeOptions]:
    """By which the architecture may have been decoded: the search's own options, and all that can be listed."""
    if (folder / CONFIG).exists():
        yield decode_options(read_config(SearchConfig, folder / CONFIG), space)
    yield from space.possible_options()
