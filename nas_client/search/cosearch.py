"""Co-search of teacher and student: pre-training of the supernet, then alternating updates of weights and architectures.

Source: FasterSeg, §3.3 and Appendix F.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from models.supernets.mixture import Mixture
from nas_client.data.base import CheckProgress
from nas_client.data.transforms import Batch
from nas_client.errors import CheckpointError
from nas_client.latency.coefficients import gather
from nas_client.latency.relaxation import Gumbel
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.config import write_config
from nas_client.runs.journal import Journal, read_journal
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import StopRequest
from nas_client.search.branches import branches_label
from nas_client.search.config import PretrainSettings, SearchConfig, SearchSettings, WeightOptimizer
from nas_client.search.epochs import SearchEpoch
from nas_client.search.latency_loss import LatencyLoss
from nas_client.search.outcome import SearchResult, candidates, choose, decoded, write_outcome
from nas_client.search.progress import PHASES, Position, Watch
from nas_client.search.randomness import Place, Stream
from nas_client.search.relaxed_network import RelaxedNetwork
from nas_client.search.setup import SearchData, SearchIdentity, build_supernet, combinations_of, open_space
from nas_client.search.supernet_evaluation import evaluate_supernet
from nas_client.search.updates import ArchitectureUpdate, Losses, SegmentationPass, WeightUpdate, seeded
from nas_client.table import LookupTable
from nas_client.train.schedules import poly_factor

LAST, PRETRAINED = "last", "pretrained"
"""Checkpoints: the newest state, and that at the end of pre-training, from which other searches may start."""


def search(
    config: SearchConfig,
    table: LookupTable,
    folder: Path,
    *,
    resume: bool = False,
    pretrained: Path | None = None,
    processes: Processes | None = None,
    watch: Watch | None = None,
    checking: CheckProgress | None = None,
) -> SearchResult:
    """Search, from the start or from where a run in that folder stopped.

    The folder gets `config.yaml`, `epochs.jsonl` (see `SearchEpoch`), `tensorboard/`, `checkpoints/`, and what
    `write_outcome` writes.

    Args:
        config: everything that decides the result, beside the table.
        table: of the search space, complete.
        folder: of the run.
        resume: go on with the run in the folder; from the start where it has saved nothing.
        pretrained: folder of another search, whose pre-trained weights are taken instead of pre-training.
        processes: among which the run is shared; those that the environment names where not given.
        watch: told what happens.
        checking: told how the check of the data set goes on.

    Raises:
        CheckpointError: the folder holds a run and `resume` is not set; or its run had another configuration or table.
        TableMismatchError, MissingEntryError, InvalidSpecError, DatasetError, ShapeError: what is given does not fit together.
        ProcessesError: processes were given different tables or configurations.
        DivergenceError: a loss is not a number; the last checkpoint is from before.
    """
    processes = processes or Processes()
    run = CoSearch(config, table, folder, processes, watch or Watch(), checking)
    run.prepare(resume=resume, pretrained=pretrained)
    return run.finish(stopped=run.run())


class CoSearch:
    """A search in progress; arguments as of `search`."""

    def __init__(
        self,
        config: SearchConfig,
        table: LookupTable,
        folder: Path,
        processes: Processes,
        watch: Watch,
        checking: CheckProgress | None,
    ) -> None:
        self.config, self.table, self.folder = config, table, folder
        self.processes, self.watch = processes, watch
        self.identity = SearchIdentity.of(config, table)
        processes.require_same("the table or the configuration", self.identity.model_dump_json())
        self.space = open_space(config, table)
        shapes = self.space.parameter_shapes()
        coefficients = gather(self.space.latency_graph(), shapes, table.lookup)
        self.data = SearchData.open(config, self.space, processes, checking)
        supernet = build_supernet(self.space, config)
        processes.prepare(supernet)
        self.supernet = supernet
        self.passes = SegmentationPass(supernet, combinations_of(self.space, supernet), config, processes)
        self.searched = supernet.roles[0]
        seeds = [Place(config.seed).seed_of(stream) for stream in (Stream.STUDENT, Stream.TEACHER)]
        self.networks = {
            role: RelaxedNetwork(
                shapes,
                widest=role != self.searched,
                deviation=config.search.architecture.deviation,
                seed=seed,
                device=processes.device,
            )
            for role, seed in zip(supernet.roles, seeds, strict=False)
        }
        self.latency = LatencyLoss(coefficients, config.latency, temperature=config.search.temperature, device=processes.device)
        self.architecture_optimizers = {role: self._adam(network) for role, network in self.networks.items()}
        self.architecture_updates = {role: self._architecture_update(role) for role in reversed(self.networks)}
        self.gumbel = Gumbel(config.search.temperature, torch.Generator(processes.device))
        self.checkpoints = Checkpoints(folder)
        self.position = Position()
        self.weight_optimizer = self._sgd(config.pretrain.optimizer)
        self.lines = 0

    def _adam(self, network: RelaxedNetwork) -> torch.optim.Optimizer:
        wanted = self.config.search.architecture
        return torch.optim.Adam(network.optimized, wanted.lr, wanted.betas, weight_decay=wanted.weight_decay)

    def _sgd(self, wanted: WeightOptimizer) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.supernet.parameters(), wanted.lr, momentum=wanted.momentum, weight_decay=wanted.weight_decay
        )

    def _architecture_update(self, role: str) -> ArchitectureUpdate:
        return ArchitectureUpdate(
            self.passes,
            self.networks[role],
            role,
            self.architecture_optimizers[role],
            latency=self.latency if role == self.searched and self.latency.used else None,
            factor=self.config.latency.factor,
            temperature=self.config.search.temperature,
            processes=self.processes,
        )

    def prepare(self, *, resume: bool, pretrained: Path | None) -> None:
        """Take up what the folder holds, or start in it."""
        saved = self.checkpoints.load(LAST, self.identity) if resume else None
        if not resume and self.checkpoints.path(LAST).exists():
            raise CheckpointError(
                f"{self.folder} already holds a search", hint="Go on with it by --resume, or name another folder."
            )
        if saved is not None:
            self._restore(saved)
        elif pretrained is not None:
            self._take_weights(pretrained)
        if self.processes.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_config(self.config, self.folder / "config.yaml")

    def _take_weights(self, folder: Path) -> None:
        saved = Checkpoints(folder).read(PRETRAINED)
        try:
            self.supernet.load_state_dict(saved["supernet"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{folder}: its supernet is not that of {self.table.info.space.label()}: {str(error).splitlines()[-1].strip()}",
                hint="Pre-train with a table of the same search space.",
            ) from error
        self.position = Position(phase=PHASES.index("search"))
        self.weight_optimizer = self._sgd(self.config.search.optimizer)

    def run(self) -> bool:
        """Go through both phases; whether a signal stopped it before the end."""
        silent = not self.processes.is_main
        with StopRequest() as stop, Journal(self.folder, keep=self.lines, silent=silent) as journal:
            while self.position.phase < len(PHASES):
                if self.position.epoch == self._settings().epochs:
                    self._end_phase()
                    continue
                stopped = self._epoch(stop)
                if stopped:
                    self._save(LAST)
                    return True
                self._end_epoch(journal)
        return False

    def finish(self, *, stopped: bool) -> SearchResult:
        """Decode, choose and write."""
        records = read_journal(self.folder, SearchEpoch) if self.processes.is_main else []
        evaluated = next((record.mean_iou for record in reversed(records) if record.mean_iou), {})
        found = {
            role: candidates(network, self.space, self.table, evaluated.get(role, {}), self.config)
            for role, network in self.networks.items()
        }
        shares = [(record.latency_share, record.steps) for record in records if record.latency_share is not None]
        result = SearchResult(
            finished=not stopped,
            epochs=len(records),
            table=self.table.info.id(),
            weights=self.latency.weights,
            latency_share=sum(share * steps for share, steps in shares) / sum(s for _, s in shares) if shares else None,
            candidates=found,
            chosen={role: choose(several, by_accuracy=role != self.searched) for role, several in found.items()},
        )
        if self.processes.is_main:
            write_outcome(result, self.networks, self.folder)
        self.processes.wait()
        return result

    def _settings(self) -> PretrainSettings | SearchSettings:
        settings: PretrainSettings | SearchSettings = getattr(self.config, PHASES[self.position.phase])
        return settings

    def _epoch(self, stop: StopRequest) -> bool:
        """The steps of an epoch that are still to be done; whether a signal cut them short."""
        settings, position = self._settings(), self.position
        update = WeightUpdate(self.passes, self.weight_optimizer, settings.optimizer.clip_norm, self.processes)
        batches = self._batches()
        per_epoch = position.step + len(batches[0])
        for pair in zip(*batches, strict=False):
            started = time.perf_counter()
            latency_before = self._latency_s()
            self._set_rate(settings, position.epoch * per_epoch + position.step, settings.epochs * per_epoch)
            on_device = [Batch(*(tensor.to(self.processes.device) for tensor in batch)) for batch in pair]
            losses = self.step(update, on_device)
            position.count(losses, time.perf_counter() - started, self._latency_s() - latency_before)
            done = position.epoch * per_epoch + position.step
            self.watch.step(PHASES[position.phase], done, settings.epochs * per_epoch, losses)
            if self.processes.any(stop.requested):
                return True
            if self.config.checkpoint_steps and position.step % self.config.checkpoint_steps == 0:
                self._save(LAST)
        return False

    def _batches(self) -> list[DataLoader[Batch]]:
        """Of trainA, and in the search of trainB; what this epoch has done already is left out."""
        settings, position = self._settings(), self.position
        searching = isinstance(settings, SearchSettings)
        epoch = position.epoch + (self.config.pretrain.epochs if searching else 0)
        return [
            self.data.training(half, epoch=epoch, batch_size=settings.batch_size, crop=settings.crop, skip=position.step)
            for half in self.data.halves()[: 2 if searching else 1]
        ]

    def _set_rate(self, settings: PretrainSettings | SearchSettings, step: int, steps: int) -> None:
        wanted = settings.optimizer
        factor = poly_factor(step, steps, power=wanted.power) if wanted.schedule == "poly" else 1.0
        for group in self.weight_optimizer.param_groups:
            group["lr"] = wanted.lr * factor

    def step(self, update: WeightUpdate, batches: list[Batch]) -> Losses:
        """All updates of a step, the teacher's before the student's."""
        place, where = self.position.place(self.config.seed), self.position.where()
        losses: Losses = {}
        for role in reversed(self.networks):
            losses |= update(batches[0], self.mixtures(role, place), role, where)
        for architecture_update in self.architecture_updates.values() if len(batches) > 1 else ():
            losses |= architecture_update(batches[1], place, where)
        return losses

    def mixtures(self, role: str, place: Place) -> Iterator[Mixture]:
        """Those that a role's weights are trained with: the widest, and where widths are searched the narrowest and others."""
        network = self.networks[role]
        yield network.broadest()
        if network.widest:
            return
        yield network.narrowest()
        if PHASES[place.phase] == "search":
            yield network.sampled(seeded(self.gumbel, place, Stream.WIDTHS))
        else:
            rng = place.rng(Stream.WIDTHS)
            yield from (network.random(rng) for _ in range(self.config.pretrain.random_widths))

    def _end_epoch(self, journal: Journal) -> None:
        record = self._record()
        journal.write(record)
        journal.scalars(self.lines, scalars(record))
        self.lines += 1
        self.position = self.position.after_epoch()
        self._save(LAST)
        self.watch.epoch(record)

    def _record(self) -> SearchEpoch:
        started = time.perf_counter()
        position, settings = self.position, self._settings()
        last = position.epoch + 1 == settings.epochs
        due = last or (position.epoch + 1) % self.config.evaluation.every == 0
        mean_iou = {role: self._mean_iou(role) for role in self.networks} if due else {}
        latency_used = position.latency_s > 0
        return SearchEpoch(
            phase=PHASES[position.phase],
            epoch=position.epoch,
            steps=position.step,
            seconds=position.step_s + time.perf_counter() - started,
            losses={name: total / position.step for name, total in position.losses.items()},
            latency_share=position.latency_s / position.step_s if latency_used else None,
            latency=self.latency.report(self.networks[self.searched].logits),
            entropy={role: network.entropy() for role, network in self.networks.items()},
            mean_iou=mean_iou,
            decoded={role: decoded(network, self.space, self.table) for role, network in self.networks.items()},
        )

    def _mean_iou(self, role: str) -> Mapping[str, float | None]:
        settings = self._settings()
        training = self.data.training(None, epoch=0, batch_size=settings.batch_size, crop=settings.crop)
        metrics = evaluate_supernet(
            self.passes,
            self.networks[role].likeliest(),
            role,
            statistics=islice(training, self.config.evaluation.statistics_batches),
            validation=self.data.validating(),
            classes=self.space.spec.classes,
            processes=self.processes,
        )
        return {branches_label(branches): found.mean_iou for branches, found in metrics.items()}

    def _end_phase(self) -> None:
        if PHASES[self.position.phase] == "pretrain":
            self.weight_optimizer = self._sgd(self.config.search.optimizer)
            self._save(PRETRAINED, {"supernet": self.supernet.state_dict()})
        self.position = self.position.after_phase()
        self._save(LAST)

    def _latency_s(self) -> float:
        return self.architecture_updates[self.searched].latency_s

    def _save(self, name: str, state: Mapping[str, Any] | None = None) -> None:
        if self.processes.is_main:
            self.checkpoints.save(name, self._state() if state is None else state, self.identity)

    def _state(self) -> dict[str, Any]:
        return {
            "position": self.position.state(),
            "lines": self.lines,
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "networks": {role: network.state() for role, network in self.networks.items()},
            "architecture_optimizers": {role: adam.state_dict() for role, adam in self.architecture_optimizers.items()},
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.position = Position.of(state["position"])
        self.lines = state["lines"]
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        for role, network in self.networks.items():
            network.restore(state["networks"][role])
            self.architecture_optimizers[role].load_state_dict(state["architecture_optimizers"][role])


def scalars(record: SearchEpoch) -> dict[str, float]:
    """The curves of TensorBoard."""
    values = {f"loss/{name}": value for name, value in record.losses.items()}
    values |= {f"latency/{name}": value for name, value in record.latency.model_dump().items()}
    for role, entropies in record.entropy.items():
        values |= {f"entropy/{role}/{name}": value for name, value in entropies.items()}
    for role, ious in record.mean_iou.items():
        values |= {f"miou/{role}/{branches}": value for branches, value in ious.items() if value is not None}
    for role, networks in record.decoded.items():
        values |= {f"estimate_ms/{role}/{branches_label(found.branches)}": found.estimate_ms for found in networks}
    return values
