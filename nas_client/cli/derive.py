"""`derive`: the networks that searched parameters stand for. Torch is imported when it runs: that takes seconds."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.terminal import Json, emit, warn
from nas_client.cli.arguments import TableSource, ValidationFolder, known_bias, load_table
from nas_client.cli.estimate import document, explain_missing
from nas_client.errors import ParameterError
from nas_client.search.branches import EXPONENT, TARGET_MS, branches_label, objective, parse_branches

if TYPE_CHECKING:
    from models.spaces.base import SearchSpace
    from nas_client.estimates import Estimate
    from nas_client.search.derivation import Derived
    from nas_client.table import LookupTable

Branches = tuple[int, ...]


def derive(
    table: TableSource,
    parameters: Annotated[Path, typer.Option(metavar="P", help="File with the logits of α, β and γ.")],
    branches: Annotated[
        str | None, typer.Option(metavar="8,32", help="Scales at which the branches end; by default all combinations.")
    ] = None,
    accuracies: Annotated[
        Path | None,
        typer.Option(
            metavar="A", help='JSON file such as {"8,32": 0.71, …}: chooses the branches with the best ACC·(LAT/T)^w.'
        ),
    ] = None,
    target_ms: Annotated[float, typer.Option(metavar="T", help="T, the target latency in that formula.")] = TARGET_MS,
    exponent: Annotated[float, typer.Option(metavar="W", help="w, the exponent in that formula.")] = EXPONENT,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Decode a teacher: the widest connections everywhere, γ ignored.")
    ] = False,
    keep_skips: Annotated[
        bool, typer.Option("--keep-skips", help="Keep every skip, instead of removing or replacing it.")
    ] = False,
    text: Annotated[bool, typer.Option("--text", help="Print each network in words too, cell by cell.")] = False,
    validation: ValidationFolder = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Continue even if operators have no entry. Sums leave them out.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="F", help="File for the architecture. With several, their branches are added to its name."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Decode searched parameters into architectures, with their estimated latency, multiply-adds and parameters."""
    if branches is not None and accuracies is not None:
        raise typer.BadParameter("--branches names a network, --accuracies chooses one; give one of the two")
    from models.spaces.registry import create_space
    from nas_client.cli.firmness import Decisions
    from nas_client.cli.latency_options import read_parameters
    from nas_client.search.derivation import derive as derive_one

    found = load_table(table)
    space = create_space(found.info.space)
    accuracy = {} if accuracies is None else _read_accuracies(accuracies)
    wanted = [parse_branches(branches)] if branches is not None else list(accuracy) or list(space.branch_choices())
    logits = read_parameters(parameters, space, widest=teacher)
    decisions = Decisions.of(logits, space)
    bias = known_bias(table, found, validation)
    derived = [derive_one(logits, found, branches=ends, keep_skips=keep_skips, widest=teacher, bias=bias) for ends in wanted]
    complete = allow_missing or not any(network.estimate.missing for network in derived)
    values = {
        network.branches: objective(accuracy[network.branches], network.estimate.sum_ms, target_ms=target_ms, exponent=exponent)
        for network in derived
        if accuracy and complete
    }
    chosen = max(values, key=values.__getitem__) if values else None
    paths = _write(derived, chosen, output) if output is not None and complete else {}
    result = {
        "architectures": [
            {
                "branches": list(network.branches),
                "architecture": network.architecture.model_dump(mode="json"),
                "estimate": document(network.estimate),
                "macs": network.costs.macs,
                "flops": network.costs.flops,
                "parameters": network.costs.parameters,
                "accuracy": accuracy.get(network.branches),
                "objective": values.get(network.branches),
                "path": paths.get(network.branches),
                **({"text": space.describe(network.architecture)} if text else {}),
            }
            for network in derived
        ],
        "chosen": None if chosen is None else list(chosen),
        **decisions.document(),
        "verdict": found.verdict.model_dump(mode="json"),
    }

    def show(console: Console) -> None:
        _show(console, space, derived, accuracy, values, chosen, paths)
        decisions.show(console)
        for network in derived if text else ():
            console.print("", f"branches {branches_label(network.branches)}:" * bool(network.branches), sep="\n")
            console.print("\n".join(space.describe(network.architecture)), markup=False)

    emit(result, as_json=json, text=show)
    warn(found.verdict, found.label())
    decisions.warn()
    _explain(derived, found)
    if not complete:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _read_accuracies(path: Path) -> dict[Branches, float]:
    """Accuracy by branches. Raises ParameterError."""
    try:
        data = json_module.loads(path.read_bytes())
    except ValueError as error:
        raise ParameterError(f"{path}: not a JSON document: {error}", hint="Check that the file is complete.") from error
    if not isinstance(data, dict) or not data:
        raise ParameterError(f"{path}: an object of accuracies by branches is needed", hint='Such as {"8,32": 0.71}.')
    for branches, value in data.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"{path}: the accuracy of {branches!r} is {value!r}, not a number")
    accuracies = {parse_branches(branches): float(value) for branches, value in data.items()}
    if len(accuracies) < len(data):
        raise ParameterError(f"{path}: the same branches are named twice")
    return accuracies


def _write(derived: list[Derived], chosen: Branches | None, output: Path) -> dict[Branches, str]:
    """Write the chosen architecture, or all; returns the path of each that was written."""
    written = [network for network in derived if chosen in (None, network.branches)]
    paths = {}
    for network in written:
        suffix = "" if len(written) == 1 else "-" + "-".join(map(str, network.branches))
        path = output.with_stem(output.stem + suffix)
        path.write_text(network.architecture.model_dump_json(indent=2) + "\n")
        paths[network.branches] = str(path)
    return paths


def _show(
    console: Console,
    space: SearchSpace,
    derived: list[Derived],
    accuracy: dict[Branches, float],
    values: dict[Branches, float],
    chosen: Branches | None,
    paths: dict[Branches, str],
) -> None:
    grid = Grid(box=None, pad_edge=False)
    headings = [
        "branches",
        "size",
        "estimate\n(ms)",
        "95 % interval\n(ms)",
        "multiply-\nadds (G)",
        "parameters\n(M)",
        *["accuracy", "objective"] * bool(values),
    ]
    for heading in headings:
        grid.add_column(heading, justify="left" if heading == "branches" else "right", no_wrap=True)
    for network in derived:
        ends = network.branches
        size = space.choices_of(network.architecture).size
        costs = network.costs
        row = [
            branches_label(ends) or "all",
            size,
            f"{network.estimate.sum_ms:.4f}",
            _interval(network.estimate),
            f"{costs.macs / 1e9:.3f}",
            f"{costs.parameters / 1e6:.3f}",
        ]
        grid.add_row(*row, *([f"{accuracy[ends]:.4f}", f"{values[ends]:.4f}"] if values else []))
    console.print(grid)
    if chosen is not None:
        console.print(f"chosen: {branches_label(chosen)}")
    for path in paths.values():
        console.print(f"written to {path}", markup=False)


def _interval(estimate: Estimate) -> str:
    """Of the sum alone, and marked as such, unless a validation is known."""
    if (certainty := estimate.uncertainty) is None:
        return "unknown"
    low, high = certainty.interval_ms
    return f"{low:.4f} to {high:.4f}" + (" (sum alone)" if certainty.kind == "statistical" else "")


def _explain(derived: list[Derived], table: LookupTable) -> None:
    terms = {term.operator.key(): term for network in derived for term in network.estimate.terms}
    if any(term.ms is None for term in terms.values()):
        explain_missing(list(terms.values()), table)
