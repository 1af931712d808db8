"""`derive`: the architectures that it prints and writes, how it chooses, and how each bad input ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.networks.module import network_costs
from models.spaces.decoding import DecodeOptions
from models.spaces.registry import create_space, published_readers, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from profiler_service.cli.import_fasterseg import imported_table
from tests.support.client_command import Command
from tests.support.fake_service import make_table, operator_ms
from tests.support.fasterseg_networks import branches_of
from tests.support.reference import reference_file

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": 7, "widths": (4, 12)}))
PAIRS = ["8,16", "8,32", "16,32"]


def logits(seed: int = 3) -> dict[str, dict[str, list[list[float]]]]:
    rng = np.random.default_rng(seed)
    return {
        name: {group: rng.normal(size=shape).tolist() for group, shape in groups.items()}
        for name, groups in SPACE.parameter_shapes().items()
    }


def softmax(rows: list[list[float]]) -> Any:
    odds = np.exp(rows)
    return odds / odds.sum(axis=1, keepdims=True)


def decoded(alternative: str, *, exact: bool = False, role: str = "student") -> ArchitectureSpec:
    given = {name: {group: softmax(rows) for group, rows in groups.items()} for name, groups in logits().items()}
    return SPACE.decode(given, alternative=alternative, role=SPACE.role(role), options=DecodeOptions(exact=exact))


def written(tmp_path: Path, name: str, document: object) -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "table.arrow"
    write_table(make_table(SPACE.spec), path, TableFormat.ARROW)
    return path


@pytest.fixture
def arguments(tmp_path: Path, table: Path) -> list[object]:
    return ["derive", "--table", table, "--parameters", written(tmp_path, "logits.json", logits())]


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """A table that lacks an operator of every network."""
    whole = make_table(SPACE.spec)
    entries = tuple(entry for entry in whole.entries if not entry.workload.label().startswith("upsample"))
    path = tmp_path / "less.json"
    write_table(Table(info=whole.info, entries=entries), path, TableFormat.JSON)
    return path


def test_without_more_all_pairs_are_derived(nas_client: Command, arguments: list[object]) -> None:
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document["chosen"] is None
    found = ended.document["architectures"]
    assert [network["alternative"] for network in found] == PAIRS
    for network in found:
        architecture = ArchitectureSpec.parse(network["architecture"])
        assert architecture == decoded(network["alternative"])
        operators = SPACE.architecture_operators(architecture)
        assert network["estimate"]["sum_ms"] == pytest.approx(sum(map(operator_ms, operators)))
        assert [term["key"] for term in network["estimate"]["operators"]] == [operator.key() for operator in operators]
        costs = network_costs(SPACE.plan(architecture))
        assert (network["macs"], network["flops"], network["parameters"]) == (costs.macs, costs.flops, costs.parameters)
        assert (network["accuracy"], network["objective"], network["path"]) == (None, None, None)


@pytest.mark.parametrize(
    "flags", [("--branches", "32,8"), ("--alternative", "8,32", "--keep-skips"), ("--branches", "8,32", "--exact")]
)
def test_the_branches_asked_for_are_derived_and_written(
    nas_client: Command, tmp_path: Path, arguments: list[object], flags: tuple[str, ...]
) -> None:
    path = tmp_path / "architecture.json"
    ended = nas_client(*arguments, "-o", path, "--json", *flags)
    assert ended.code == ExitCode.DONE
    architecture = ArchitectureSpec.parse_json(path.read_bytes())
    assert architecture == decoded("8,32", exact=len(flags) > 2)
    (network,) = ended.document["architectures"]
    assert (network["alternative"], network["path"]) == ("8,32", str(path))
    space_of(architecture).plan(architecture)


def test_what_is_written_can_be_estimated(nas_client: Command, tmp_path: Path, table: Path, arguments: list[object]) -> None:
    path = tmp_path / "architecture.json"
    derived = nas_client(*arguments, "--branches", "16", "-o", path, "--json").document
    estimated = nas_client("estimate", "--table", table, "--architecture", path, "--json").document
    assert estimated == derived["architectures"][0]["estimate"] | {"verdict": derived["verdict"]}
    assert estimated["sum_interval_kind"] == "statistical"


def test_several_are_written_beside_each_other(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    ended = nas_client(*arguments, "-o", tmp_path / "found.json", "--json")
    for network, pair in zip(ended.document["architectures"], PAIRS, strict=True):
        path = tmp_path / f"found-{pair.replace(',', '-')}.json"
        assert network["path"] == str(path)
        assert ArchitectureSpec.parse_json(path.read_bytes()) == decoded(pair)


@pytest.mark.parametrize("best", range(3))
def test_accuracies_choose(nas_client: Command, tmp_path: Path, arguments: list[object], best: int) -> None:
    """Far ahead in accuracy wins whatever the latency; the others are shown, and not written."""
    accuracies = {pair: 0.7 if index == best else 0.1 for index, pair in enumerate(PAIRS)}
    path = tmp_path / "architecture.json"
    more = ("--accuracies", written(tmp_path, "accuracies.json", accuracies), "-o", path)
    ended = nas_client(*arguments, *more, "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document["chosen"] == PAIRS[best]
    assert ArchitectureSpec.parse_json(path.read_bytes()) == decoded(PAIRS[best])
    for network in ended.document["architectures"]:
        assert network["path"] == (str(path) if network["alternative"] == PAIRS[best] else None)
        expected = network["accuracy"] * (network["estimate"]["sum_ms"] / 8.3) ** -0.07
        assert network["objective"] == pytest.approx(expected)
    assert f"chosen: {PAIRS[best]}" in nas_client(*arguments, *more).out


def test_latency_chooses_among_equally_accurate_networks(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    accuracies = written(tmp_path, "accuracies.json", {"8": 0.7, "8,16,32": 0.7})
    for exponent, chosen in ((-0.07, "8"), (0.07, "8,16,32")):
        ended = nas_client(*arguments, "--accuracies", accuracies, "--exponent", exponent, "--json")
        assert ended.document["chosen"] == chosen


def test_a_teacher_needs_no_gamma_and_ignores_one(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    path = tmp_path / "teacher.json"
    with_gamma = nas_client(*arguments, "--branches", "8,32", "--teacher", "-o", path, "--json").document
    without = written(tmp_path, "logits.json", {name: groups for name, groups in logits().items() if name != "gamma"})
    assert nas_client(*arguments[:-1], without, "--branches", "8,32", "--teacher", "-o", path, "--json").document == with_gamma
    assert ArchitectureSpec.parse_json(path.read_bytes()) == decoded("8,32", role="teacher")


def test_for_people(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    ended = nas_client(*arguments, "-o", tmp_path / "found.json")
    assert ended.code == ExitCode.DONE
    for pair in PAIRS:
        architecture = decoded(pair)
        assert pair in ended.out
        assert f"{sum(map(operator_ms, SPACE.architecture_operators(architecture))):.4f}" in ended.out
        assert f"found-{pair.replace(',', '-')}.json" in ended.out
    assert "chosen" not in ended.out


def test_a_space_without_branches_to_choose(nas_client: Command, tmp_path: Path) -> None:
    toy = tmp_path / "toy.arrow"
    write_table(make_table(), toy, TableFormat.ARROW)
    rows = np.eye(3).tolist()
    parameters = written(tmp_path, "toy.json", {"alpha": {"0": rows, "1": rows}})
    path = tmp_path / "architecture.json"
    ended = nas_client("derive", "--table", toy, "--parameters", parameters, "-o", path, "--json")
    assert ended.code == ExitCode.DONE
    genotype = ArchitectureSpec.parse_json(path.read_bytes()).genotype
    assert genotype["operators"] == ("skip", "conv3x3", "zoomed_conv3x3_x2") * 2
    assert "all" in nas_client("derive", "--table", toy, "--parameters", parameters).out


@pytest.mark.parametrize("choosing", [False, True])
def test_nothing_is_written_or_chosen_by_sums_that_lack_terms(
    nas_client: Command, tmp_path: Path, arguments: list[object], holed: Path, choosing: bool
) -> None:
    arguments[2] = holed
    path = tmp_path / "architecture.json"
    more: list[object] = ["--branches", "8,32", "-o", path, "--json"]
    if choosing:
        more[:2] = ["--accuracies", written(tmp_path, "accuracies.json", {"8,32": 0.7})]
    ended = nas_client(*arguments, *more)
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.document["chosen"] is None
    assert len(ended.document["architectures"][0]["estimate"]["missing"]) == 1
    assert "1 of" in ended.err
    assert "Measure what is missing: profiler-service profile" in ended.err
    assert not path.exists()
    ended = nas_client(*arguments, *more, "--allow-missing")
    assert ended.code == ExitCode.DONE
    assert ended.document["chosen"] == ("8,32" if choosing else None)
    assert path.exists()


def refused(nas_client: Command, *arguments: object) -> str:
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    message = ended.document["error"]["message"]
    assert message in ended.err
    assert isinstance(message, str)
    return message


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ("8,64", "branches: 8,64; one or more of 8, 16, 32 must be given"),
        ("8,8", "branches: 8,8; one or more"),
        ("8;32", "branches: 8;32; one or more"),
    ],
)
def test_branches_that_there_are_not(nas_client: Command, arguments: list[object], branches: str, message: str) -> None:
    assert message in refused(nas_client, *arguments, "--branches", branches)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "an object of accuracies by alternative is needed"),
        ({}, "an object of accuracies by alternative is needed"),
        ({"8,32": "good"}, "the accuracy of '8,32' is 'good', not a number"),
        ({"8,32": True}, "the accuracy of '8,32' is True, not a number"),
        ({"8,32": -1}, "accuracy -1.0 is not"),
        ({"8-32": 0.7}, "branches: 8-32; one or more"),
        ({"8,32": 0.7, "32,8": 0.6}, "an alternative is named twice"),
        ({"8,64": 0.7}, "branches: 8,64; one or more of 8, 16, 32"),
    ],
)
def test_accuracies_that_are_none(
    nas_client: Command, tmp_path: Path, arguments: list[object], document: object, message: str
) -> None:
    accuracies = written(tmp_path, "accuracies.json", document)
    assert message in refused(nas_client, *arguments, "--accuracies", accuracies)


def test_files_that_are_cut_short_or_absent(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    short = tmp_path / "short.json"
    short.write_text('{"8,32": 0.')
    assert "short.json: not a JSON document" in refused(nas_client, *arguments, "--accuracies", short)
    assert "short.json: not a JSON document" in refused(nas_client, *arguments[:-1], short)
    assert "nowhere.json" in refused(nas_client, *arguments, "--accuracies", tmp_path / "nowhere.json")
    assert "nowhere" in refused(nas_client, *arguments, "--branches", "8", "-o", tmp_path / "nowhere" / "architecture.json")


def test_parameters_of_another_space(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    wrong = logits()
    wrong["alpha"]["8"] = wrong["alpha"]["8"][1:]
    message = refused(nas_client, *arguments[:-1], written(tmp_path, "logits.json", wrong))
    assert "alpha of group '8' has shape 6×5; 7×5 is expected" in message


@pytest.mark.parametrize(("option", "value"), [("--target-ms", 0), ("--exponent", "nan")])
def test_a_trade_that_is_none(nas_client: Command, tmp_path: Path, arguments: list[object], option: str, value: object) -> None:
    accuracies = written(tmp_path, "accuracies.json", {"8,32": 0.7})
    assert "finite" in refused(nas_client, *arguments, "--accuracies", accuracies, option, value)


def test_branches_are_asked_for_or_chosen_but_not_both(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    accuracies = written(tmp_path, "accuracies.json", {"8,32": 0.7})
    ended = nas_client(*arguments, "--branches", "8,32", "--accuracies", accuracies)
    assert ended.code == ExitCode.USAGE
    assert "--accuracies chooses one" in ended.err


def test_how_firmly_the_parameters_decide_is_said(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    document = nas_client(*arguments, "--json").document
    rows = {name: sum(len(rows) for rows in groups.values()) for name, groups in logits().items()}
    assert {name: len(found["gaps"]) for name, found in document["firmness"].items()} == rows
    assert not any(found["nearly_random"] for found in document["firmness"].values())
    assert [choice["count"] for choice in document["joint_choices"]] == [6, 15]
    for network in document["architectures"]:
        branches = network["architecture"]["genotype"]["branches"]
        for granularity, field in (("alpha", "operators"), ("gamma", "widths")):
            used = sum(map(len, network["deciding_rows"][granularity].values()))
            most = [len(branch[field]) for branch in branches]
            assert max(most) <= used <= sum(most), "branches may share rows"
    decided = nas_client(*arguments)
    assert "where the branch to 1/16 downsamples: 1/16 from layer" in decided.out
    assert re.search(r"8,32: least and median gap of its rows, in logit: operator \(α\) 0\.\d+ and", decided.out)
    assert "close to chance" not in decided.err


def test_chance_and_ties_are_announced(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    even = {
        name: {group: np.zeros(shape).tolist() for group, shape in groups.items()}
        for name, groups in SPACE.parameter_shapes().items()
    }
    ended = nas_client(*arguments[:-1], written(tmp_path, "even.json", even), "--branches", "8,32")
    assert "operator (α): decoding is close to chance: probabilities lie 0 nats" in ended.err
    assert "operator (α): tie in row 0 of group '8': skip and conv3x3" in ended.err
    assert "expansion (γ): tie in row 0 of group '8': 4/12 and 12/12" in ended.err
    assert "ties in 15 more rows" in ended.err


def test_networks_in_words(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    ended = nas_client(*arguments, "--branches", "8,32", "--text")
    for branch in branches_of(decoded("8,32")):
        assert f"branch that ends at 1/{branch.end}, {len(branch.operators)} cells:" in ended.out
        for kind, width in zip(branch.operators, (*branch.widths, 8), strict=True):
            assert re.search(rf"{kind} +1/\d+( → 1/\d+)? +{width}/12", ended.out)
    (network,) = nas_client(*arguments, "--branches", "8,32", "--text", "--json").document["architectures"]
    assert all(line in ended.out for line in network["text"])


def test_the_published_student_comes_from_the_authors_files(nas_client: Command, tmp_path: Path) -> None:
    published = published_readers()["fasterseg"].read_published(reference_file("fasterseg/latency_lookup_table.npy"))
    table = tmp_path / "published.arrow"
    write_table(
        imported_table(published, device="GTX 1080 Ti", runtime="TensorRT", source="published"), table, TableFormat.ARROW
    )
    ours = ("derive", "--table", table, "--parameters", reference_file("fasterseg/arch_1.pt"), "--branches", "16,32")
    ended = nas_client(*ours, "--rules", "published", "--allow-missing", "--json")
    (network,) = ended.document["architectures"]
    student = json.loads(reference_file("fasterseg/student.json").read_bytes())
    assert network["architecture"]["genotype"]["branches"] == student["branches"][::-1]
    assert network["estimate"]["sum_ms"] == pytest.approx(5.701835681642834, rel=1e-12)
    assert len(network["estimate"]["operators"]) - len(network["estimate"]["missing"]) == 27
    assert "operator (α): decoding is close to chance" in ended.err
    teacher = (*ours[:4], reference_file("fasterseg/arch_0.pt"), "--role", "teacher", "--rules", "published")
    for network in nas_client(*teacher, "--allow-missing", "--json").document["architectures"]:
        assert [len(branch["operators"]) for branch in network["architecture"]["genotype"]["branches"]] == [16, 16]
