"""All architectures of the space over shared weights, for a search."""

from models.operators.layers import build_operator
from models.supernets.base import Predictions, Supernet
from models.supernets.cells import Cells
from models.supernets.head import resize

ROLE = "network"


class LeafSupernet(Supernet):
    """One role, and one head: the only combination of branches is the empty one."""

    def __init__(self, graph, classifier):
        super().__init__()
        self.roles, self.combinations = (ROLE,), ((),)
        self.stem = build_operator(graph.fixed[0])
        self.cells = Cells({ROLE: graph})
        self.classifier = build_operator(classifier)
        self.end = len(graph.nodes) - 1

    def forward(self, images, mixture, *, role, combinations=None, auxiliary=False, size=None):
        maps = self.cells(self.stem(images), mixture, role, [self.end])
        return Predictions({(): resize(self.classifier(maps[self.end]), size or images.shape[2:])})

    def copy_to(self, kinds, network):
        network.steps["stem"].load_state_dict(self.stem.state_dict())
        network.steps["classifier"].load_state_dict(self.classifier.state_dict())
        for edge, (mixed, kind) in enumerate(zip(self.cells.mixed, kinds, strict=True)):
            mixed.choice(kind).copy_to(network.steps[f"edge{edge}"])
