"""The way of an RSPNet supernet's weights into a network of stacked cells."""

from __future__ import annotations

from models.networks.graph_plan import edge_step
from models.networks.module import Network
from models.spaces.rspnet.catalogue import Catalogue
from models.spaces.rspnet.graph import edge_places
from models.spaces.rspnet.parameters import RspNetParameters
from models.spec.errors import InvalidSpecError
from models.supernets.base import Supernet
from models.supernets.dag import DagSupernet


def copy_stacked(supernet: Supernet, role: str, network: Network, parameters: RspNetParameters, catalogue: Catalogue) -> None:
    """Gives each copy of a cell the weights of the one that was searched in its place, and all else its own.

    Raises:
        InvalidSpecError: the supernet is not one of this space.
        UnknownNameError: it has no such role.
    """
    if not isinstance(supernet, DagSupernet):
        raise InvalidSpecError(f"a {type(supernet).__name__} is not a supernet of this search space")
    searched = {place: edge for edge, place in enumerate(edge_places(parameters, catalogue, stack=1))}
    stacked = enumerate(edge_places(parameters, catalogue, stack=parameters.stack))
    supernet.copy_to(network, role, searched={edge_step(edge): edge_step(searched[place]) for edge, place in stacked})
