"""The trained state of a co-search and its update steps: the supernet's weights and each role's architecture parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from models.spaces.base import SearchSpace
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.supernets.base import Mixture, Supernet
from nas_client.data.transforms import Batch
from nas_client.latency.coefficients import gather
from nas_client.latency.relaxation import Gumbel
from nas_client.runs.processes import Processes
from nas_client.search.config import ArchitectureOptimizer, SearchConfig, SearchSettings, WeightOptimizer
from nas_client.search.epochs import Phase
from nas_client.search.latency_factor import LatencyFactor
from nas_client.search.latency_loss import LatencyLoss
from nas_client.search.progress import RngKey, Stream
from nas_client.search.relaxed_network import RelaxedNetwork
from nas_client.search.single_paths import SinglePathUpdate
from nas_client.search.updates import ArchitectureUpdate, Losses, SegmentationPass, WeightUpdate, seeded
from nas_client.table import LookupTable
from nas_client.train.optimizers import optimizer_of
from nas_client.train.schedules import rate_factor


class Learner:
    """The trained state of a co-search.

    Args:
        config: of the search.
        space: of the table.
        table: complete.
        processes: among which batches are shared.

    Attributes:
        supernet: whose weights are trained.
        passes: its forward passes.
        networks: by role, in the space's order.
        searched: the role that sees latency.
        latency: that role's latency loss.
        factor: its λ.
        architecture_updates: by role, of those that the phase searches anything for.
    """

    def __init__(self, config: SearchConfig, space: SearchSpace, table: LookupTable, processes: Processes) -> None:
        self._config, self._processes = config, processes
        shapes = space.parameter_shapes()
        self.supernet = _build_supernet(space, config)
        processes.prepare(self.supernet)
        self.passes = SegmentationPass(self.supernet, _heads(space, self.supernet, config.heads), config, processes)
        self.searched = space.searched_role().name
        self.networks = {
            role.name: RelaxedNetwork(
                shapes,
                space.initial_logits(),
                role=role,
                deviation=config.search.architecture.deviation,
                seed=RngKey(config.seed, step=index).seed_of(Stream.LOGITS),
                device=processes.device,
                path_logits=self.supernet.path_logits,
            )
            for index, role in enumerate(space.roles())
        }
        coefficients = gather(space.latency_graph(), shapes, table.lookup)
        self.latency = LatencyLoss(coefficients, config.latency, temperature=config.search.temperature, device=processes.device)
        self.factor = LatencyFactor(config)
        self._space = space
        self._single_paths = SinglePathUpdate(
            self.passes,
            space,
            self.searched,
            random=config.pretrain.random_widths,
            weight=config.selection.distillation,
            seed=config.seed,
            processes=processes,
        )
        self.start_phase("pretrain")

    def start_phase(self, phase: Phase) -> None:
        """Start a phase with new optimisers."""
        self._phase = phase
        temperature = self._search_settings.temperature
        self.latency.sample_at(temperature)
        self._gumbel = Gumbel(temperature, torch.Generator(self._processes.device))
        searched, decided = self._granularities()
        for role in self._space.roles():
            self.networks[role.name].start_phase(searched & role.searches, decided & role.searches)
            self.networks[role.name].both_ends = self._search_settings.width_gradients == "both"
        searching = {role: network for role, network in self.networks.items() if network.optimized}
        architecture = self._search_settings.architecture
        self._architecture_optimizers = {role: optimizer_of(architecture, one.optimized) for role, one in searching.items()}
        self.architecture_updates = {role: self._architecture_update(role) for role in reversed(searching)}
        settings = self._weight_settings
        weights = list(self.supernet.parameters())
        self._weight_optimizer = optimizer_of(settings, weights, foreach=True)  # thousands of small tensors
        self._weight_update = WeightUpdate(self.passes, self._weight_optimizer, settings.clip_norm, self._processes)

    def step(self, batches: Sequence[Batch], key: RngKey, where: str, *, step: int, steps: int) -> Losses:
        """All updates of a step, the teacher's before the student's.

        Args:
            batches: of trainA, and in the search, its warm-up excepted, of trainB.
            key: of the step's random numbers.
            where: the step, for messages.
            step: how many of the phase are done; the learning rate follows from this and the next.
            steps: how many the phase has.

        Raises:
            DivergenceError: a loss or gradient is not finite.
        """
        phase = getattr(self._config, self._phase)
        searching = self._phase != "pretrain" and key.epoch >= self._search_settings.warmup_epochs
        _set_rate(self._weight_optimizer, phase.optimizer, step, steps, phase.epochs)
        if searching:
            self._set_architecture_rate(step, steps)
        if self._config.method == "evolution":
            return self._single_paths(batches[0], self._weight_optimizer, phase.optimizer.clip_norm, where, step=step)
        losses: Losses = {}
        for role in reversed(self.networks):
            losses |= self._weight_update(batches[0], self.mixtures(role, key), role, where)
        if searching:
            for update in self.architecture_updates.values():
                losses |= update(batches[1], key, where)
        self.supernet.merge_statistics(self._processes.sum_in_place)
        return losses

    def mixtures(self, role: str, key: RngKey) -> Iterator[Mixture]:
        """Mixtures that train a role's weights: the widest; where widths are searched, also the narrowest and sampled ones;
        where they are decided, these alone.
        """
        network = self.networks[role]
        if network.searches_widths and "gamma" in network.decided:
            yield network.most_probable_widths()
            return
        yield network.widest_connections()
        if not network.searches_widths:
            return
        yield network.narrowest_connections()
        if self._phase != "pretrain":
            yield network.sampled_widths(seeded(self._gumbel, key, Stream.WIDTHS))
        else:
            rng = key.rng(Stream.WIDTHS)
            yield from (network.random_widths(rng) for _ in range(self._config.pretrain.random_widths))

    def _set_architecture_rate(self, step: int, steps: int) -> None:
        """Its schedule is that of the epochs after the warm-up."""
        settings = self._search_settings
        warm = steps // settings.epochs * settings.warmup_epochs
        epochs = settings.epochs - settings.warmup_epochs
        for optimizer in self._architecture_optimizers.values():
            _set_rate(optimizer, settings.architecture, step - warm, steps - warm, epochs)

    def latency_ratio(self, losses: Losses) -> float | None:
        """λ times the latency over the segmentation loss that it is added to, of all predictions; from mean losses. None where
        that loss is 0, as it is of images without labels.
        """
        segmentation = losses[f"architecture_{self.searched}"] * len(self.passes.alternatives)
        return self.factor.value * losses["latency"] / segmentation if segmentation else None

    @property
    def latency_s(self) -> float:
        """Time spent so far on the latency loss."""
        return sum(update.latency_s for update in self.architecture_updates.values())

    def state(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self._weight_optimizer.state_dict(),
            "networks": {role: network.state() for role, network in self.networks.items()},
            "architecture_optimizers": {role: one.state_dict() for role, one in self._architecture_optimizers.items()},
            "factor": self.factor.state(),
        }

    def restore(self, state: Mapping[str, Any], phase: Phase) -> None:
        """Restore a saved state of that phase."""
        self.start_phase(phase)
        self.supernet.load_state_dict(state["supernet"])
        self._weight_optimizer.load_state_dict(state["weight_optimizer"])
        for role, network in self.networks.items():
            network.restore(state["networks"][role])
        for role, optimizer in self._architecture_optimizers.items():
            optimizer.load_state_dict(state["architecture_optimizers"][role])
        if "factor" in state:  # else of a release in which it never moved
            self.factor.restore(state["factor"])

    @property
    def _weight_settings(self) -> WeightOptimizer:
        """The phase's."""
        return self._config.pretrain.optimizer if self._phase == "pretrain" else self._search_settings.optimizer

    @property
    def _search_settings(self) -> SearchSettings:
        """Of the phase, or, in pre-training, of the first search."""
        return self._config.second if self._phase == "second" else self._config.search

    def _granularities(self) -> tuple[frozenset[str], frozenset[str]]:
        """Those that the phase searches, and those that the first search has decided for the second."""
        searched = frozenset(self._search_settings.searches)
        before = self._config.search.searches if self._phase == "second" and self._config.search.epochs else ()
        return searched, frozenset(before) - searched

    def _architecture_update(self, role: str) -> ArchitectureUpdate:
        return ArchitectureUpdate(
            self.passes,
            self.networks[role],
            role,
            self._architecture_optimizers[role],
            latency=self.latency if role == self.searched and self.latency.used else None,
            factor=self.factor,
            temperature=self._search_settings.temperature,
            processes=self._processes,
        )


def _set_rate(
    optimizer: torch.optim.Optimizer, settings: WeightOptimizer | ArchitectureOptimizer, step: int, steps: int, epochs: int
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * rate_factor(settings, step, steps, epochs=epochs)


def _build_supernet(space: SearchSpace, config: SearchConfig) -> Supernet:
    """The space's supernet; its weights follow from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(RngKey(config.seed).seed_of(Stream.WEIGHTS))
        supernet = space.supernet()
    if config.compile:
        supernet.compile_operators()
    return supernet


def _heads(space: SearchSpace, supernet: Supernet, wanted: Sequence[str]) -> tuple[str, ...]:
    """What a search trains heads for: the space's alternatives, from which it chooses, unless others are named.

    Raises:
        InvalidSpecError: the supernet has no such head, one is named twice, or the search may end in none of them.
    """
    known = set(supernet.alternatives)
    possible = tuple(alternative for alternative in space.alternatives() if alternative in known) or supernet.alternatives
    if not wanted:
        return possible
    for head in wanted:
        if head not in known:
            raise UnknownNameError.of("head (of heads)", head, supernet.alternatives)
    if len(set(wanted)) < len(wanted):
        raise InvalidSpecError(f"heads: {'; '.join(wanted)}: one is named twice", hint="Name each once.")
    if not set(wanted) & set(possible):
        raise InvalidSpecError(
            f"heads: {'; '.join(wanted)}: the search can end in none of them",
            hint=f"Name one or more of {'; '.join(possible)}.",
        )
    return tuple(wanted)
