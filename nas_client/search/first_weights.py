"""From a search's supernet to the first weights of the networks that were decoded from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.networks.module import Network
from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from nas_client.errors import CheckpointError
from nas_client.latency.parameters import ArchitectureParameters, complete_shapes
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.manifest import require_run
from nas_client.search.cosearch import LAST
from nas_client.search.derivation import probabilities


def supernet_weights(folder: Path, space: SearchSpace, role: str, architecture: ArchitectureSpec) -> Callable[[Network], None]:
    """What gives a network of that architecture the weights that it has in the supernet of a search.

    Args:
        folder: of the search.
        space: that it searched.
        role: whose stem and head to take, and whose parameters the architecture was decoded from.
        architecture: as the search, or `derive`, decoded it, with or without its skips.

    Raises:
        RunFolderError: the folder holds no search.
        CheckpointError: the search has saved nothing, or is of another space.
        UnknownNameError, InvalidSpecError: the search has no such role, or its parameters stand for another architecture.
    """
    require_run(folder, "search")
    state = Checkpoints(folder).read(LAST)["learner"]
    supernet = space.supernet()
    try:
        supernet.load_state_dict(state["supernet"])
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: its supernet is not that of {space.spec.label()}: {str(error).splitlines()[-1].strip()}",
            hint="Name the folder of a search, and the table that it searched with.",
        ) from error
    widest = space.role(role).widest
    logits = dict(state["networks"][role])
    if (added := supernet.path_logits()) is not None:
        logits["beta"] = logits["beta"] + added
    layers = _layers(logits, space, architecture, widest=widest, where=f"{folder}, {role}")
    return lambda network: space.copy_weights(supernet, role, architecture, network, layers=layers)


def _layers(
    logits: dict[str, object], space: SearchSpace, architecture: ArchitectureSpec, *, widest: bool, where: str
) -> tuple[tuple[int, ...], ...] | None:
    """The supernet's layer of each of the architecture's cells; None where it has all."""
    shapes = space.parameter_shapes()
    parameters = ArchitectureParameters(complete_shapes({**shapes, "gamma": {}} if widest else shapes), **logits)  # type: ignore[arg-type]
    found = probabilities(parameters)
    branches = space.alternative_of(architecture)
    for keep_skips in (False, True):
        if space.decode(found, branches=branches, keep_skips=keep_skips, widest=widest) == architecture:
            return None if keep_skips else space.decoded_layers(found, branches=branches, widest=widest)
    raise InvalidSpecError(
        f"{where}: its parameters stand for another architecture than {architecture.label()}",
        hint="Take the architecture that this search wrote for this role.",
    )
