"""`estimate`, `loss` and `sensitivity` on files: what they print, and how each bad input ends."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.table import LookupTable
from nas_client.uncertainty import sum_uncertainty
from nas_client.validation.calibration import CalibrationFile, Features
from nas_client.validation.fitting import fit
from tests.support.client_command import Command
from tests.support.fake_service import SPACE, make_table, network_ms, operator_ms

TOY = create_space(SPACE)
NETWORK = TOY.sample(np.random.default_rng(1))
LAYERS = 5
WIDE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": LAYERS})).spec
"""A space with α, β and γ."""
GOOD = {"level": "trustworthy", "reasons": []}


def constant(ms: float) -> Table:
    """A table of `WIDE` in which everything takes the same time."""
    table = make_table(WIDE)
    return Table(info=table.info, entries=tuple(entry.model_copy(update={"value_ms": ms}) for entry in table.entries))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    write_table(make_table(), path, TableFormat.PARQUET)
    return path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a published table of `WIDE`."""
    path = tmp_path / "published" / "paper-cpu" / "paper" / "wide-32x64-fp32.parquet"
    path.parent.mkdir(parents=True)
    write_table(make_table(WIDE), path, TableFormat.PARQUET)
    monkeypatch.setenv("OPCLOCK_CLIENT_TABLES_DIR", str(tmp_path / "published"))
    return "paper-cpu/paper/wide-32x64-fp32"


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.arrow"
    write_table(make_table(WIDE), path, TableFormat.ARROW)
    return path


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    path = tmp_path / "architecture.json"
    path.write_text(NETWORK.model_dump_json())
    return path


def logits() -> dict[str, dict[str, list[list[float]]]]:
    """Random logits of `WIDE`."""
    rng = np.random.default_rng(3)
    shapes = create_space(WIDE).parameter_shapes()
    return {
        name: {group: rng.normal(size=shape).tolist() for group, shape in groups.items()} for name, groups in shapes.items()
    }


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps(logits()))
    return path


def test_estimate_prints_every_term(nas_client: Command, table: Path, architecture: Path) -> None:
    ended = nas_client("estimate", "--table", table, "--architecture", architecture, "--json")
    assert ended.code == ExitCode.DONE
    operators = TOY.architecture_operators(NETWORK)
    certainty = sum_uncertainty(operators, LookupTable(make_table()))
    assert certainty is not None
    assert ended.document == {
        "sum_ms": pytest.approx(sum(map(operator_ms, operators))),
        "calibrated_ms": None,
        "interval_ms": None,
        "sum_stderr_ms": pytest.approx(certainty.stderr_ms),
        "sum_interval_ms": pytest.approx(certainty.interval_ms),
        "sum_interval_kind": "statistical",
        "operators": [{"label": o.label(), "key": o.key(), "ms": operator_ms(o)} for o in operators],
        "missing": [],
        "verdict": GOOD,
    }


def test_estimate_for_people(nas_client: Command, table: Path, architecture: Path) -> None:
    ended = nas_client("estimate", "--table", table, "--architecture", architecture)
    assert ended.code == ExitCode.DONE
    operators = TOY.architecture_operators(NETWORK)
    assert f"sum of {len(operators)} operators: {sum(map(operator_ms, operators)):.4f} ms" in ended.out
    assert all(operator.label() in ended.out for operator in operators)


@pytest.mark.parametrize(("flags", "code"), [((), ExitCode.BAD_INPUT), (("--allow-missing",), ExitCode.DONE)])
def test_estimate_with_missing_entries(
    nas_client: Command, tmp_path: Path, architecture: Path, flags: tuple[str, ...], code: ExitCode
) -> None:
    whole = make_table()
    upsampling = next(entry for entry in whole.entries if entry.workload.label().startswith("upsample"))
    path = tmp_path / "less.json"
    write_table(Table(info=whole.info, entries=tuple(e for e in whole.entries if e != upsampling)), path, TableFormat.JSON)
    ended = nas_client("estimate", "--table", path, "--architecture", architecture, "--json", *flags)
    assert ended.code == code
    known = [operator_ms(o) for o in TOY.architecture_operators(NETWORK) if o != upsampling.workload]
    assert ended.document["sum_ms"] == pytest.approx(sum(known))
    assert ended.document["operators"][-1] == {"label": upsampling.workload.label(), "key": upsampling.key(), "ms": None}
    assert [missing["key"] for missing in ended.document["missing"]] == [upsampling.key()]
    assert f"1 of {len(known) + 1} operators have no value" in ended.err
    assert "profiler-service profile --space toy_dag --input-size 64x128" in ended.err


def test_estimate_with_a_calibration(nas_client: Command, tmp_path: Path, table: Path, architecture: Path) -> None:
    rng = np.random.default_rng(0)
    networks = [TOY.sample(rng) for _ in range(30)]
    sums = [sum(map(operator_ms, TOY.architecture_operators(network))) for network in networks]
    calibration = fit(Features.of(sums, np.full(30, 9)), [network_ms(network) for network in networks])
    found = LookupTable(make_table())
    path = tmp_path / "calibration.json"
    file = CalibrationFile.of(found.info.id(), found.label(), found.info.scale, calibration)
    path.write_text(file.model_dump_json())
    arguments = ("estimate", "--table", table, "--architecture", architecture, "--calibration", path)
    document = nas_client(*arguments, "--json").document
    low, high = document["interval_ms"]
    assert low < network_ms(NETWORK) < high
    assert low < document["calibrated_ms"] < high
    assert "95 % of such networks take" in nas_client(*arguments).out


def test_terms_are_the_same_where_everything_takes_the_same(nas_client: Command, tmp_path: Path, parameters: Path) -> None:
    """Three branches of three stem operators and a cell per layer, whatever α, β and γ say."""
    path = tmp_path / "constant.csv"
    write_table(constant(0.5), path, TableFormat.CSV)
    expected = 3 * (3 + LAYERS) * 0.5
    for width in ("expected", "gumbel"):
        ended = nas_client("loss", "--table", path, "--parameters", parameters, "--width", width, "--json")
        assert ended.code == ExitCode.DONE
        assert ended.document == {
            **dict.fromkeys(
                ["operator_ms", "downsample_ms", "expansion_ms", "weighted_ms", "relaxed_ms"], pytest.approx(expected)
            ),
            "weights": [0.001, 0.997, 0.002],
            "verdict": GOOD,
        }


def loss(nas_client: Command, wide: Path, parameters: Path, *more: object) -> Any:
    ended = nas_client("loss", "--table", wide, "--parameters", parameters, "--json", *more)
    assert ended.code == ExitCode.DONE
    return ended.document


def test_weights_are_those_given(nas_client: Command, wide: Path, parameters: Path) -> None:
    found = loss(nas_client, wide, parameters, "--weights", "1,2, 0.5")
    terms = (found["operator_ms"], found["downsample_ms"], found["expansion_ms"])
    assert found["weights"] == [1, 2, 0.5]
    assert found["weighted_ms"] == pytest.approx(terms[0] + 2 * terms[1] + 0.5 * terms[2])
    assert len({round(term, 6) for term in terms}) == 3


def test_weights_that_balance_the_table_are_those_of_sensitivity(nas_client: Command, wide: Path, parameters: Path) -> None:
    solved = nas_client("sensitivity", "--table", wide, "--json").document["weights"]
    assert loss(nas_client, wide, parameters, "--weights", "solved")["weights"] == solved
    ended = nas_client("loss", "--table", wide, "--parameters", parameters)
    assert ended.out.splitlines()[-1].split() == ["weights", "0.001,0.997,0.002"]


def test_sampled_widths_depend_on_the_seed_alone(nas_client: Command, wide: Path, parameters: Path) -> None:
    one, again, other = (loss(nas_client, wide, parameters, "--width", "gumbel", "--seed", seed) for seed in (1, 1, 2))
    assert one == again
    assert one["expansion_ms"] != other["expansion_ms"]
    assert one["operator_ms"] == other["operator_ms"]
    assert loss(nas_client, wide, parameters, "--width", "gumbel") == loss(
        nas_client, wide, parameters, "--width", "gumbel", "--seed", 0
    )
    idle = nas_client("loss", "--table", wide, "--parameters", parameters, "--seed", 1)
    assert idle.code == ExitCode.USAGE
    assert "--seed belongs to --width gumbel" in idle.err


def test_steps_are_timed_when_asked_for(nas_client: Command, wide: Path, parameters: Path) -> None:
    assert loss(nas_client, wide, parameters, "--repeat", 3)["step_ms"] > 0
    ended = nas_client("loss", "--table", wide, "--parameters", parameters, "--repeat", 1)
    assert "one step, forward and backward" in ended.out


def test_a_space_without_beta_and_gamma_has_a_loss_too(nas_client: Command, tmp_path: Path, table: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps({"alpha": {"0": np.zeros((3, 3)).tolist(), "1": np.zeros((3, 3)).tolist()}}))
    found = loss(nas_client, table, path)
    assert found["relaxed_ms"] == pytest.approx(found["operator_ms"])
    assert found["weights"] == [1, 0, 0]  # solved by default: the published ones are FasterSeg's
    shown = nas_client("loss", "--table", table, "--parameters", path).out
    assert "operator free (α)" in shown
    assert "free (β)" not in shown
    assert "free (γ)" not in shown


def test_sensitivity_balances_its_weights(nas_client: Command, wide: Path) -> None:
    document = nas_client("sensitivity", "--table", wide, "--json").document
    gaps = [document["operator_ms"], document["downsample_ms"], document["expansion_ms"]]
    products = [gap * weight for gap, weight in zip(gaps, document["weights"], strict=True)]
    assert sum(document["weights"]) == pytest.approx(1)
    assert products == pytest.approx([products[0]] * 3)
    assert set(document) == {"operator_ms", "downsample_ms", "expansion_ms", "weights", "verdict"}


def test_names_are_printed_as_they_are(nas_client: Command, tmp_path: Path) -> None:
    whole = make_table()
    info = whole.info.model_copy(update={"target": whole.info.target.model_copy(update={"device": "CPU [/red] [bold]8 cores"})})
    path = tmp_path / "table.json"
    write_table(Table(info=info, entries=whole.entries), path, TableFormat.JSON)
    ended = nas_client("sensitivity", "--table", path)
    assert ended.code == ExitCode.DONE
    assert "CPU [/red] [bold]8 cores" in ended.out


def test_sensitivity_of_a_space_without_beta_and_gamma(nas_client: Command, table: Path) -> None:
    document = nas_client("sensitivity", "--table", table, "--json").document
    assert document["operator_ms"] > 0
    assert (document["downsample_ms"], document["expansion_ms"]) == (None, None)
    assert document["weights"] == [1, 0, 0]
    assert [line.split()[:2] for line in nas_client("sensitivity", "--table", table).out.splitlines()[2:4]] == [
        ["path", "nothing"],
        ["width", "nothing"],
    ]


def refused(nas_client: Command, *arguments: object) -> str:
    """The message of a command that ends with 3, told on stderr and as JSON."""
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    error = ended.document["error"]
    assert error["message"] in ended.err
    assert isinstance(error["message"], str)
    return error["message"]


def changed(granularity: str, group: str, rows: object) -> dict[str, Any]:
    found: dict[str, Any] = logits()
    found[granularity][group] = rows
    return found


ALPHA_8 = logits()["alpha"]["8"]


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        (changed("alpha", "8", ALPHA_8[1:]), ["alpha of group '8'", f"{LAYERS - 1}×5", f"{LAYERS}×5 is expected"]),
        (changed("beta", "16", [[1.0, 2.0, 3.0]]), ["beta of group '16'", "1×3", f"{LAYERS - 2}×2 is expected"]),
        (changed("gamma", "32", []), ["gamma of group '32'", "×5 is expected"]),
        (changed("alpha", "8", [[float("nan")] * 5, *ALPHA_8[1:]]), ["alpha of group '8'", "nan", "row 0, choice 0"]),
        (changed("alpha", "8", [*ALPHA_8[1:], [0, 0, 0, 0, float("inf")]]), ["inf", f"row {LAYERS - 1}, choice 4"]),
        (changed("gamma", "8", [["x"]]), ["gamma of group '8'"]),
        (changed("alpha", "64", ALPHA_8), ["unknown", "'64'"]),
        ({"alpha": logits()["alpha"]}, ["'beta' is missing"]),
        ([], ["named values, not list"]),
    ],
)
def test_parameters_that_do_not_fit(
    nas_client: Command, tmp_path: Path, wide: Path, document: object, parts: list[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    message = refused(nas_client, "loss", "--table", wide, "--parameters", path)
    assert [part for part in parts if part not in message] == []


def test_parameters_that_are_no_json(nas_client: Command, tmp_path: Path, wide: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b"\x80\x04.")
    assert "bad.json: not a JSON document" in refused(nas_client, "loss", "--table", wide, "--parameters", path)


@pytest.mark.parametrize("weights", ["1,2", "1,2,3,4", "a,b,c", "", "1,-1,1", "1,nan,1"])
def test_weights_that_are_none(nas_client: Command, wide: Path, parameters: Path, weights: str) -> None:
    assert "weights" in refused(nas_client, "loss", "--table", wide, "--parameters", parameters, "--weights", weights)


def test_parameters_of_another_space(nas_client: Command, table: Path, parameters: Path) -> None:
    assert "group of alpha" in refused(nas_client, "loss", "--table", table, "--parameters", parameters)


def test_a_table_with_gaps_has_no_loss(nas_client: Command, tmp_path: Path, parameters: Path) -> None:
    whole = make_table(WIDE)
    gone = next(entry for entry in whole.entries if entry.workload.label().startswith("zoomed_conv3x3_x2"))
    path = tmp_path / "less.npy"
    write_table(Table(info=whole.info, entries=tuple(e for e in whole.entries if e != gone)), path, TableFormat.NPY)
    ended = nas_client("loss", "--table", path, "--parameters", parameters, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    error = ended.document["error"]
    assert error["code"] == "missing_entry"
    assert gone.workload.label() in error["message"]
    assert "profiler-service profile --space fasterseg --input-size 32x64 --backend paper --parameter layers=5" in error["hint"]


def test_a_table_without_differences_has_no_weights(nas_client: Command, tmp_path: Path) -> None:
    path = tmp_path / "constant.csv"
    write_table(constant(0.5), path, TableFormat.CSV)
    assert "nothing to weight" in refused(nas_client, "sensitivity", "--table", path)


@pytest.mark.parametrize("command", ["loss", "sensitivity"])
def test_a_table_of_zeros_weighs_nothing(nas_client: Command, tmp_path: Path, parameters: Path, command: str) -> None:
    path = tmp_path / "zero.csv"
    write_table(constant(0.0), path, TableFormat.CSV)
    more = ["--parameters", parameters] if command == "loss" else []
    assert "operators of this search space takes 0 ms in the table" in refused(nas_client, command, "--table", path, *more)


@pytest.mark.parametrize("command", ["estimate", "loss", "sensitivity"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"no table at all", "none of the formats"),
        (pickle.dumps({"conv": 1.0}), "it is a pickle"),
        (None, "cut short"),
    ],
)
def test_files_that_are_no_tables(
    nas_client: Command, tmp_path: Path, architecture: Path, parameters: Path, command: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / "bad.arrow"
    if content is None:
        write_table(make_table(), path, TableFormat.ARROW)
        content = path.read_bytes()[:-500]
    path.write_bytes(content)
    more = {"estimate": ["--architecture", architecture], "loss": ["--parameters", parameters], "sensitivity": []}
    assert message in refused(nas_client, command, "--table", path, *more[command])


def test_a_table_of_a_space_that_this_release_does_not_know(nas_client: Command, tmp_path: Path, architecture: Path) -> None:
    info = make_table().info.model_copy(update={"space": SPACE.model_copy(update={"name": "toy_dog"})})
    path = tmp_path / "strange.json"
    write_table(Table(info=info), path, TableFormat.JSON)
    ended = nas_client("sensitivity", "--table", path, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.document["error"]["message"] == "unknown search space 'toy_dog' (plugins here: none)"
    assert ended.document["error"]["hint"] == "Did you mean 'toy_dag'?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": [128, 256]}, "input_size: [64, 128] here, [128, 256] there"),
        ({"space": "other"}, "name: toy_dag here, other there"),
        ({"dtype": "float8"}, "ArchitectureSpec.dtype"),
        ({"batch": 0}, "ArchitectureSpec.batch"),
        ({"input_size": [0, 128]}, "ArchitectureSpec.input_size.0"),
        ({"branches": []}, "ArchitectureSpec.branches"),
        ({"genotype": []}, "ArchitectureSpec.genotype"),
        ({"genotype": {"operators": "x" * 65}}, "ArchitectureSpec.genotype: operators: a text of 65 characters"),
        ({"colour": "red"}, "ArchitectureSpec.colour"),
    ],
)
def test_architectures_that_do_not_fit(
    nas_client: Command, tmp_path: Path, table: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(NETWORK.model_dump(mode="json") | change))
    assert message in refused(nas_client, "estimate", "--table", table, "--architecture", path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"terms": []}, "one or several different ones"),
        ({"coefficients": []}, "1 terms but 0 coefficients"),
        ({"terms": ["scale", "intercept"], "coefficients": [1.0, 0.1]}, "2 rows of 2 numbers"),
        ({"inverse_normal": [[-1.0]]}, "not positive definite"),
        ({"residual_sd": -0.1}, "residual_sd -0.1 is negative"),
        ({"networks": 1}, "networks 1 must be more than the 1 terms"),
    ],
)
def test_damaged_calibrations(
    nas_client: Command, tmp_path: Path, table: Path, architecture: Path, damage: dict[str, Any], message: str
) -> None:
    whole = {"terms": ["scale"], "coefficients": [1.0], "inverse_normal": [[0.1]], "residual_sd": 0.1, "networks": 8}
    named = {"table_id": make_table().info.id(), "table": "of a test", "reference_ms": 0.25}
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(named | {"calibration": whole | damage}))
    arguments = ("estimate", "--table", table, "--architecture", architecture, "--calibration", path)
    assert message in refused(nas_client, *arguments)
    path.write_text(path.read_text().replace(json.dumps(whole | damage), json.dumps(whole)))
    assert nas_client(*arguments).code == ExitCode.DONE


@pytest.mark.parametrize("name", ["--table", "--architecture"])
def test_files_that_are_not_there(nas_client: Command, tmp_path: Path, table: Path, architecture: Path, name: str) -> None:
    paths = {"--table": table, "--architecture": architecture} | {name: tmp_path / "nowhere"}
    message = refused(nas_client, "estimate", *(part for pair in paths.items() for part in pair))
    assert "nowhere" in message
    assert "No such file" in message


def test_a_setting_of_the_environment_that_is_none(nas_client: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_CLIENT_ATTEMPTS", "many")
    assert "ClientSettings.attempts" in refused(nas_client, "pull", "--url", "http://box:1", "-o", "table.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ("estimate",),
        ("guess",),
        ("loss", "--table", "t", "--parameters", "p", "--width", "narrow"),
        ("validate", "--url", "http://box:1", "--space", "s", "--architectures", "7"),
    ],
)
def test_usage_errors_end_with_2(nas_client: Command, arguments: tuple[str, ...]) -> None:
    assert nas_client(*arguments).code == ExitCode.USAGE


def test_every_command_takes_the_name_of_a_published_table(nas_client: Command, published: str, tmp_path: Path) -> None:
    parameters, network = tmp_path / "logits.json", tmp_path / "network.json"
    parameters.write_text(json.dumps(logits()))
    network.write_text(create_space(WIDE).sample(np.random.default_rng(0)).model_dump_json())
    inputs = {"estimate": ("--architecture", network), "loss": ("--parameters", parameters), "sensitivity": ()}
    for name, options in {**inputs, "derive": ("--parameters", parameters)}.items():
        ended = nas_client(name, "--table", published, *options, "--json")
        assert ended.code == 0, (name, ended.err)


def test_an_unknown_name_lists_the_near_ones(nas_client: Command, published: str) -> None:
    ended = nas_client("sensitivity", "--table", published.replace("32x64", "64x64"), "--json")
    assert ended.code == 3
    assert published in ended.document["error"]["hint"]
