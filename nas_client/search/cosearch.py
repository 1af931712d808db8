"""Co-search of teacher and student: pre-training of the supernet, then alternating updates of weights and architectures.

Source: FasterSeg, §3.3 and Appendix F.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from models.spec.base import digest
from nas_client.data.base import CheckProgress
from nas_client.data.transforms import Batch
from nas_client.errors import CheckpointError
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.config import read_config, write_config
from nas_client.runs.journal import Journal, read_journal
from nas_client.runs.manifest import CONFIG, begin_run, is_begun, require_run
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import StopRequest
from nas_client.search.config import PretrainSettings, SearchConfig, SearchSettings
from nas_client.search.epochs import Phase, SearchEpoch
from nas_client.search.learner import Learner
from nas_client.search.outcome import Decoder, SearchResult, choose, write_outcome
from nas_client.search.progress import PHASES, Position, SearchObserver
from nas_client.search.selection_images import require_unseen
from nas_client.search.setup import SearchData, SearchIdentity, decode_options, open_space
from nas_client.search.supernet_evaluation import evaluate_supernet
from nas_client.search.updates import Losses
from nas_client.table import LookupTable
from nas_client.train.weights import weights_digest

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
    watch: SearchObserver | None = None,
    checking: CheckProgress | None = None,
) -> SearchResult:
    """Search, from the start or from where a run in that folder stopped.

    The folder gets `run.json`, `config.yaml`, `epochs.jsonl` (see `SearchEpoch`), `tensorboard/`, `checkpoints/`, and what
    `write_outcome` writes.

    Args:
        config: everything that decides the result, beside the table.
        table: of the search space, complete.
        folder: of the run.
        resume: go on with the run in the folder; from the start where it has saved nothing.
        pretrained: folder of another search, whose pre-trained weights are taken instead of pre-training.
        processes: among which the run is shared; those that the environment names where not given.
        watch: receives the progress.
        checking: receives the progress of the data set's check.

    Raises:
        RunFolderError: the folder, or that of pre-trained weights, holds another kind of run.
        CheckpointError: the folder holds a search and `resume` is not set; or its run had another configuration or table; or
            pre-trained weights have seen images by which this search judges networks.
        TableMismatchError, MissingEntryError, InvalidSpecError, DatasetError, ShapeError: configuration, table and data set do
            not fit together.
        ProcessesError: processes were given different tables or configurations.
        DivergenceError: a loss is not a number; the last checkpoint is from before.
    """
    processes = processes or Processes()
    run = CoSearch(config, table, folder, processes, watch or SearchObserver(), checking)
    run.prepare(resume=resume, pretrained=pretrained)
    stopped = run.run()
    if config.method == "evolution":
        from nas_client.selection.after_search import finish_by_selection  # it reads what a search leaves

        return finish_by_selection(run, config, table, folder, processes, watch or SearchObserver(), stopped=stopped)
    return run.finish(stopped=stopped)


class CoSearch:
    """A search in progress; arguments as of `search`.

    Attributes:
        learner: what is trained.
        position: the next step.
        pretrained: digest of another search's weights that it started from; None where it pre-trains itself.
    """

    def __init__(
        self,
        config: SearchConfig,
        table: LookupTable,
        folder: Path,
        processes: Processes,
        watch: SearchObserver,
        checking: CheckProgress | None = None,
    ) -> None:
        self.watch = watch
        self._config, self._table, self._folder, self._processes = config, table, folder, processes
        self._identity = SearchIdentity.of(config, table)
        processes.require_same("the table", self._identity.etag)
        processes.require_same("the configuration", digest("configuration", config.model_dump(mode="json")))
        self._space = open_space(config, table)
        self._decoder = Decoder(self._space, table, decode_options(config, self._space))
        self._data = SearchData.open(config, self._space, processes, checking)
        self._checkpoints = Checkpoints(folder)
        self.learner = Learner(config, self._space, table, processes)
        self.position = Position()
        self._lines = 0
        self.pretrained: str | None = None

    def prepare(self, *, resume: bool, pretrained: Path | None) -> None:
        """Continue the search in the folder, or start one there."""
        begun = self._checkpoints.path(LAST).exists()
        if begun or is_begun(self._folder):
            require_run(self._folder, "search")
        self._processes.require_same(f"whether {self._folder} holds a search", str(begun))  # asked of all before one saves
        if begun and not resume:
            raise CheckpointError(
                f"{self._folder} already holds a search", hint="Go on with it by --resume, or name another folder."
            )
        saved = self._checkpoints.load(LAST, self._identity) if begun else None
        weights = None if pretrained is None else _pretrained_weights(pretrained)
        given = None if weights is None else weights_digest(weights)
        if saved is not None:
            self._restore(saved, given)
            return
        self._config.require_trained(pretrained=given is not None)
        if pretrained is not None and weights is not None:
            self._take_weights(pretrained, weights)
            self.pretrained = given
        if self._processes.is_main:
            begin_run(self._folder, "search")
            write_config(self._config, self._folder / CONFIG)
        self._save(LAST, self._state())

    def _restore(self, saved: Mapping[str, Any], pretrained: str | None) -> None:
        """Raises CheckpointError where other pre-trained weights are named than the run started from."""
        self.pretrained = saved["pretrained"]
        if pretrained not in (None, self.pretrained):
            raise CheckpointError(
                f"{self._folder}: the search started from pre-trained weights {self.pretrained}, not {pretrained}",
                hint="Resume without --pretrained, or name another folder.",
            )
        self._config.require_trained(pretrained=self.pretrained is not None)
        self.position, self._lines = Position.of(saved["position"]), saved["lines"]
        self.learner.restore(saved["learner"], self.position.phase_name)

    def _take_weights(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        try:
            self.learner.supernet.load_state_dict(weights)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise CheckpointError(
                f"{folder}: its supernet is not that of {self._table.info.space.label()}: {first}",
                hint="Pre-train with a table of the same search space.",
            ) from error
        require_unseen(len(self._data.train), self._config, read_config(SearchConfig, folder / CONFIG), folder)
        self._start_phase("search")

    def run(self) -> bool:
        """Run all phases; returns whether a signal stopped the search before its end."""
        silent = not self._processes.is_main
        with StopRequest() as stop, Journal(self._folder, keep=self._lines, silent=silent) as journal:
            while not self.position.over:
                if self.position.epoch == self._config.epochs(self.position.phase_name):
                    self._end_phase()
                    continue
                if self._epoch(stop):
                    self._save(LAST, self._state())
                    return True
                self._end_epoch(journal)
        return False

    def finish(self, *, stopped: bool) -> SearchResult:
        """Decode the networks, choose among them, and write the result."""
        records = read_journal(self._folder, SearchEpoch) if self._processes.is_main else []
        networks = self.learner.networks
        evaluated = next((record.mean_iou for record in reversed(records) if record.mean_iou), {})
        found = {
            role: self._decoder.candidates(network, evaluated.get(role, {}), self._config) for role, network in networks.items()
        }
        shares = [(record.latency_share, record.steps) for record in records if record.latency_share is not None]
        result = SearchResult(
            finished=not stopped,
            epochs=len(records),
            table=self._table.info.id(),
            pretrained=self.pretrained,
            weights=self.learner.latency.weights,
            latency_share=sum(share * steps for share, steps in shares) / sum(s for _, s in shares) if shares else None,
            candidates=found,
            chosen={role: choose(several, by_accuracy=role != self.learner.searched) for role, several in found.items()},
        )
        if self._processes.is_main:
            write_outcome(result, networks, self._folder)
        self._processes.wait()
        return result

    def _settings(self) -> PretrainSettings | SearchSettings:
        settings: PretrainSettings | SearchSettings = getattr(self._config, self.position.phase_name)
        return settings

    def _warming(self) -> bool:
        """Whether the present epoch of a search trains weights alone."""
        settings = self._settings()
        return isinstance(settings, SearchSettings) and self.position.epoch < settings.warmup_epochs

    def _epoch(self, stop: StopRequest) -> bool:
        """Run the remaining steps of an epoch; returns whether a signal stopped them."""
        epochs, batches = self._config.epochs(self.position.phase_name), self._batches()
        per_epoch = self.position.step + len(batches[0])  # the loaders leave out the steps that are done
        for pair in zip(*batches, strict=False):
            done = self.position.epoch * per_epoch + self.position.step
            losses = self._step(pair, done, epochs * per_epoch)
            self.watch.step(self.position.phase_name, done + 1, epochs * per_epoch, losses)
            if self._processes.any(stop.requested):
                return True
            if self._config.checkpoint_steps and self.position.step % self._config.checkpoint_steps == 0:
                self._save(LAST, self._state())
        return False

    def _step(self, pair: Sequence[Batch], done: int, steps: int) -> Losses:
        started, latency_before = time.perf_counter(), self.learner.latency_s
        on_device = [Batch(*(tensor.to(self._processes.device) for tensor in batch)) for batch in pair]
        key, where = self.position.rng_key(self._config.seed), self.position.where()
        losses = self.learner.step(on_device, key, where, step=done, steps=steps)
        self.position.count(losses, time.perf_counter() - started, self.learner.latency_s - latency_before)
        return losses

    def _batches(self) -> list[DataLoader[Batch]]:
        """Batches of trainA, and once architectures are searched also of trainB, from the next step of the epoch on."""
        settings, position = self._settings(), self.position
        searching = isinstance(settings, SearchSettings) and not self._warming()
        earlier = PHASES[: position.phase]
        epoch = position.epoch + sum(map(self._config.epochs, earlier))
        return [
            self._data.training(part, epoch=epoch, batch_size=settings.batch_size, crop=settings.crop, skip=position.step)
            for part in self._data.parts(searching=searching)
        ]

    def _end_epoch(self, journal: Journal) -> None:
        record = self._record()
        journal.write(record)
        journal.scalars(self._lines, scalars(record))
        self._lines += 1
        if record.judged_ms is not None:
            self.learner.factor.follow(record.judged_ms)
        self.position = self.position.after_epoch()
        self._save(LAST, self._state())
        self.watch.epoch(record)

    def _record(self) -> SearchEpoch:
        started = time.perf_counter()
        position, learner = self.position, self.learner
        networks = learner.networks if self._config.method == "gradient" else {}  # an evolution has no parameters to decode
        epochs = self._config.epochs(position.phase_name)
        due = position.epoch + 1 == epochs or (position.epoch + 1) % self._config.evaluation.every == 0
        mean_iou = {role: self._mean_iou(role) for role in networks} if due else {}
        found = {role: self._decoder.decoded(network) for role, network in networks.items()}
        losses = {name: total / position.step for name, total in position.losses.items()}
        weighs = "latency" in losses
        return SearchEpoch(
            phase=position.phase_name,
            warmup=self._warming(),
            epoch=position.epoch,
            steps=position.step,
            seconds=position.step_s + time.perf_counter() - started,
            losses=losses,
            latency_share=position.latency_s / position.step_s if position.latency_s else None,
            latency_factor=learner.factor.value if weighs else None,
            latency_ratio=learner.latency_ratio(losses) if weighs else None,
            judged_ms=learner.factor.judge(found[learner.searched], mean_iou.get(learner.searched, {})) if weighs else None,
            latency=learner.latency.report(learner.networks[learner.searched].joined),
            entropy={role: network.entropy() for role, network in networks.items()},
            mean_iou=mean_iou,
            decoded=found,
        )

    def _mean_iou(self, role: str) -> Mapping[str, float | None]:
        settings = self._settings()
        training = self._data.training(None, epoch=0, batch_size=settings.batch_size, crop=settings.crop)
        metrics = evaluate_supernet(
            self.learner.passes,
            self.learner.networks[role].most_probable_widths(),
            role,
            statistics=islice(training, self._config.evaluation.statistics_batches),
            validation=self._data.validating(),
            classes=self._space.spec.classes,
            processes=self._processes,
        )
        return {alternative: found.mean_iou for alternative, found in metrics.items()}

    def _end_phase(self) -> None:
        if self.position.phase_name == "pretrain":
            self._save(PRETRAINED, {"supernet": self.learner.supernet.state_dict()})
        if self.position.phase_name == PHASES[-1]:
            self.position = self.position.after_phase()
        else:
            self._start_phase(PHASES[self.position.phase + 1])
        self._save(LAST, self._state())

    def _start_phase(self, phase: Phase) -> None:
        self.position = Position(PHASES.index(phase))
        self.learner.start_phase(phase)

    def _state(self) -> dict[str, Any]:
        return {
            "position": self.position.state(),
            "lines": self._lines,
            "pretrained": self.pretrained,
            "learner": self.learner.state(),
        }

    def _save(self, name: str, state: Mapping[str, Any]) -> None:
        if self._processes.is_main:
            self._checkpoints.save(name, state, self._identity)


def _pretrained_weights(folder: Path) -> Mapping[str, Tensor]:
    require_run(folder, "search")
    weights: Mapping[str, Tensor] = Checkpoints(folder).read(PRETRAINED)["supernet"]
    return weights


def scalars(record: SearchEpoch) -> dict[str, float]:
    """The curves of TensorBoard."""
    values = {f"loss/{name}": value for name, value in record.losses.items()}
    values |= {f"latency/{name}": value for name, value in record.latency.model_dump().items()}
    weight = {"factor": record.latency_factor, "ratio": record.latency_ratio}
    values |= {f"latency/{name}": value for name, value in weight.items() if value is not None}
    for role, entropies in record.entropy.items():
        values |= {f"entropy/{role}/{name}": value for name, value in entropies.items()}
    for role, ious in record.mean_iou.items():
        values |= {f"miou/{role}/{alternative}": value for alternative, value in ious.items() if value is not None}
    for role, networks in record.decoded.items():
        values |= {f"estimate_ms/{role}/{found.alternative}": found.estimate_ms for found in networks}
    return values
