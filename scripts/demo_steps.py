"""What the demos share: a service that runs meanwhile, the client's commands, and the steps of a search made of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from models.spec.errors import ExitCode

BIN = Path(sys.executable).parent
CONSOLE = Console(highlight=False)


class StepError(SystemExit):
    """A command failed. It ends the demo with the command's exit code where nobody catches it."""


@contextmanager
def service(output: Path) -> Iterator[str]:
    """The address of a service on a free loopback port, its database in `output`; it ends with the context."""
    process, url = _start_service(output)
    try:
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _start_service(output: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A service on a free loopback port, its database in `output`; returns once it answers."""
    step("starting profiler-service")
    url_file = output / "service-url"
    url_file.unlink(missing_ok=True)
    with (output / "service.log").open("ab") as log:
        service = subprocess.Popen(
            [BIN / "profiler-service", "serve", "--port", "0", "--database", output / "opclock.sqlite", "--url-file", url_file],
            stdout=log,
            stderr=log,
        )
    while not url_file.exists():
        if service.poll() is not None:
            sys.exit(f"the service ended with {service.returncode}; see {output / 'service.log'}")
        time.sleep(0.1)
    return service, url_file.read_text().strip()


def client(*arguments: object) -> Any:
    """One `nas-client` command, shown and with its progress on this terminal; its JSON document. On Ctrl-C it waits until the
    command has saved itself.

    With one thread, unless the environment says otherwise: these networks are small, and where other programs use the cores,
    threads that wait for each other take many times as long as one.

    Raises:
        StepError: the command failed; not where some workloads failed: everything else was measured. Both may end with the
            same code, and then its document tells them apart.
    """
    words = list(map(str, arguments))
    CONSOLE.print(f"$ nas-client {shlex.join(words)}", style="dim", markup=False, soft_wrap=True)
    command = [str(BIN / "nas-client"), *words, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"OMP_NUM_THREADS": "1"} | os.environ) as process:
        try:
            document, _ = process.communicate()
        except KeyboardInterrupt:  # which the command got, too
            process.wait()
            raise SystemExit(128 + signal.SIGINT) from None
    ended = process.returncode in (ExitCode.DONE, ExitCode.WORKLOADS_FAILED)
    found = json.loads(document) if ended else None
    if found is None or "error" in found:
        CONSOLE.print(f"failed ({process.returncode}): {shlex.join(command)}", style="bold red", markup=False, soft_wrap=True)
        raise StepError(process.returncode)
    return found


def step(text: str) -> None:
    """Say what comes next."""
    CONSOLE.print(f"[bold cyan]▶[/] {text}")


Config = Mapping[str, Any]


def quick(search: Config, train: Config) -> tuple[Config, Config]:
    """The same with an epoch of everything and a few images."""
    few = {"train_images": 16, "val_images": 4}
    phases = {name: {**search[name], "epochs": 1} for name in ("pretrain", "search", "second") if name in search}
    return (
        {**search, "data": {**search["data"], **few}, **phases},
        {**train, "data": {**train["data"], **few}, "epochs": 1},
    )


@dataclass(frozen=True)
class SearchSteps:
    """The steps of a search in one space, each a command or two of `nas-client`. Each returns a command's JSON document.

    A search or training that is begun goes on, and what is measured is not measured again.

    Attributes:
        output: folder of everything that the steps write.
        url: of the service.
        space, input_size, parameters, classes: as of `nas-client profile`.
        run: carries out a command of `nas-client`.
    """

    output: Path
    url: str
    space: str
    input_size: str
    parameters: Mapping[str, str]
    classes: int = 19
    run: Callable[..., Any] = client

    @property
    def table(self) -> Path:
        """The pulled table."""
        return self.output / "table.parquet"

    def write_configs(self, search: Config, train: Config) -> None:
        """`search.yaml` and `train.yaml`."""
        self.output.mkdir(parents=True, exist_ok=True)
        for name, config in (("search", search), ("train", train)):
            (self.output / f"{name}.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def forget(self, *trainings: str) -> None:
        """Remove the search and those trainings; what is measured stays."""
        for name in ("search", *trainings):
            shutil.rmtree(self.output / name, ignore_errors=True)

    def profile(self) -> Any:
        """Measure the space's operators, and pull their table."""
        step(f"measuring every operator of a small {self.space} space at {self.input_size}")
        space = ["--space", self.space, "--input-size", self.input_size, "--classes", self.classes]
        parameters = [part for name, value in self.parameters.items() for part in ("--parameter", f"{name}={value}")]
        profiled = self.run("profile", "--url", self.url, *space, *parameters, "--budget", "quick")
        self.run("pull", "--url", self.url, "--table", profiled["table_id"], "-o", self.table)
        return profiled

    def search(self) -> Any:
        """Search with the table."""
        step(f"searching the {self.space} space")
        folder = self.output / "search"
        return self.run("search", "--table", self.table, "--config", self.output / "search.yaml", "-o", folder, "--resume")

    def derive(self, role: str, found: Mapping[str, Any]) -> Any:
        """The network of that role with the best ACC·(LAT/T)^w, its accuracy the supernet's; a teacher's latency does not
        count. `found` is the search's document.
        """
        step(f"deriving the {role}")
        words: list[object] = ["--table", self.table, "--parameters", self.output / "search" / f"parameters-{role}.json"]
        accuracies = {c["alternative"]: c["accuracy"] for c in found["candidates"][role]}
        if len(accuracies) > 1:
            path = self.output / "search" / f"accuracies-{role}.json"
            path.write_text(json.dumps(accuracies))
            words += ["--accuracies", path, *(["--exponent", 0] if role == "teacher" else [])]
        words += ["--teacher"] if role == "teacher" else []
        return self.run("derive", *words, "-o", self.architecture(role))

    def architecture(self, role: str) -> Path:
        """File of the derived network of that role."""
        return self.output / f"{role}.json"

    def train(self, role: str, *options: object, folder: str | None = None, teacher: str | None = None) -> Any:
        """Train the network of that role, or go on with its training.

        Args:
            role: of the network.
            options: further ones of the command.
            folder: name of the training's folder; the role's where None.
            teacher: the role whose training teaches it.
        """
        run = self.output / (folder or role)
        words: list[object] = ["--architecture", self.architecture(role), "--config", self.output / "train.yaml", "-o", run]
        words += options
        words += [] if teacher is None else ["--teacher", self.output / teacher]
        words += ["--resume"] if (run / "architecture.json").exists() else []
        return self.run("train", *words)

    def evaluate(self, role: str) -> Any:
        """Evaluate the trained network of that role, and have its speed measured."""
        step(f"evaluating the {role}")
        words = ["--run", self.output / role, "--weights", "final", "--url", self.url, "--budget", "quick"]
        return self.run("evaluate", *words, "-o", self.evaluation(role))

    def evaluation(self, role: str) -> Path:
        """Folder of that role's evaluation."""
        return self.output / "evaluation" / role

    def validate(self, table_id: str, networks: int, roles: Sequence[str]) -> Any:
        """Have that many random networks measured, and those of the roles beside them; judge their estimates."""
        step(f"measuring the {' and the '.join(roles)} beside {networks} random networks, and judging their estimates")
        own = [part for role in roles for part in ("--architecture", self.architecture(role))]
        words = ["--url", self.url, "--space", self.space, "--table", table_id, "--architectures", networks, *own]
        return self.run("validate", *words, "--budget", "quick", "-o", self.output / "validation")

    def report(self, title: str) -> Any:
        """One page of everything in the folder."""
        step("reporting")
        return self.run("report", self.output, "-o", self.output / "report.html", "--title", title)
