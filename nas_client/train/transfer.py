"""Architectures and weights moved to other classes and other sizes of images.

Source: FasterSeg, Tables 5 and 6: what was found on Cityscapes is trained on CamVid and BDD100K as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.networks.module import Network, build_network
from models.spaces.registry import completed, space_of
from models.spec import limits
from models.spec.architectures import ArchitectureSpec, InputSize
from models.spec.base import differences
from nas_client.errors import TrainingError
from nas_client.train.folder import Trained
from nas_client.train.run import Start

_MOVED = ("classes", "input_size", "batch", "dtype")
"""Fields in which the source of weights may differ."""


def adapted(
    architecture: ArchitectureSpec, *, classes: int | None = None, input_size: InputSize | None = None
) -> ArchitectureSpec:
    """The same choices for other classes and images of another size.

    Args:
        architecture: what was found.
        classes: how many the network predicts; as before where None.
        input_size: (height, width) of the images, pixels; as before where None.

    Raises:
        InvalidSpecError: the search space has no such network; names the field and what is allowed.
    """
    changes = {"classes": classes, "input_size": input_size}
    stated = {name: value for name, value in changes.items() if value is not None}
    found = completed(ArchitectureSpec.parse(architecture.model_dump() | stated))
    space_of(found).plan(found)
    return found


def pretrained_weights(source: Trained, architecture: ArchitectureSpec) -> Start:
    """What gives a network of the architecture the weights of a trained one, all but its classifier's.

    The classifier is what depends on the number of classes. It keeps the weights that it has, also where both networks have
    equally many classes: these need not be the same.

    Args:
        source: trained, on whatever classes and sizes of images.
        architecture: the same choices, as `adapted` gives them.

    Raises:
        TrainingError: the networks differ in more than classes, input size, batch and dtype; names the field.
    """
    changes = {name: getattr(source.architecture, name) for name in _MOVED}
    found = differences(source.architecture, architecture.model_copy(update=changes))
    if found:
        fields = ", ".join(difference.partition(":")[0] for difference in found)
        raise TrainingError(
            f"the trained network is another one, {source.architecture.label()}; it differs in {fields}",
            hint="Take its architecture, and change classes and input size with nas-client adapt.",
        )
    classifier = _classifier(architecture)
    taken = {name: tensor for name, tensor in source.weights.items() if name not in classifier}
    return lambda network: _give(taken, classifier, network)


def _give(weights: Mapping[str, Tensor], but: frozenset[str], network: Network) -> None:
    own = {name: tensor for name, tensor in network.state_dict().items() if name in but}
    network.load_state_dict({**weights, **own})


def _classifier(architecture: ArchitectureSpec) -> frozenset[str]:
    """Names of the weights whose shapes follow from the number of classes."""
    other = architecture.classes + (1 if architecture.classes < limits.MAX_CLASSES else -1)
    one, two = _shapes(architecture), _shapes(adapted(architecture, classes=other))
    return frozenset(name for name, shape in one.items() if two.get(name) != shape)


def _shapes(architecture: ArchitectureSpec) -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = build_network(space_of(architecture).plan(architecture))
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
