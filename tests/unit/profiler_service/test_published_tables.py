"""Tables by name: what a table is called, and that the client finds what the service publishes, and says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.errors import TableFileError
from models.spec.measurements import ProtocolName
from models.spec.table_cards import TableCard, table_name
from models.spec.table_files import TableFormat, read_table, table_etag, write_table
from models.spec.tables import TableInfo
from models.spec.targets import TargetSpec
from nas_client.errors import TableChoiceError
from nas_client.settings import ClientSettings
from nas_client.table import load_table
from tests.support.fake_service import make_table
from tests.support.repository import ROOT

PUBLISHED = ROOT / "lut_data"
H200 = TargetSpec(device="NVIDIA H200", backend="inductor", compute_capability="9.0")
SPACE = SpaceSpec(name="fasterseg", input_size=(1024, 2048), dtype="float16")


CONTEXT, ALONE = ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED
FLOAT32 = {"dtype": "float32"}
XEON = {"device": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "backend": "onnxruntime", "threads": 2}


@pytest.mark.parametrize(
    ("target", "space", "protocol", "name"),
    [
        ({}, {}, CONTEXT, "nvidia-h200/inductor/fasterseg-1024x2048-fp16"),
        ({}, {}, ALONE, "nvidia-h200/inductor/fasterseg-1024x2048-fp16-isolated"),
        ({}, {"dtype": "bfloat16"}, CONTEXT, "nvidia-h200/inductor/fasterseg-1024x2048-bf16"),
        ({"precision": {"tf32": "on"}}, FLOAT32, CONTEXT, "nvidia-h200/inductor/fasterseg-1024x2048-tf32"),
        ({"precision": {"tf32": "on"}}, {}, CONTEXT, "nvidia-h200/inductor/fasterseg-1024x2048-fp16"),
        (XEON, FLOAT32, CONTEXT, "intel-xeon-platinum-8481c-cpu-2.70ghz/onnxruntime/fasterseg-1024x2048-fp32-2threads"),
        ({"device": "../../etc", "backend": "a/b"}, {}, CONTEXT, "etc/a-b/fasterseg-1024x2048-fp16"),
    ],
)
def test_a_table_is_called_after_what_it_was_measured_on(
    target: dict[str, object], space: dict[str, object], protocol: ProtocolName, name: str
) -> None:
    info = TableInfo(target=H200.model_copy(update=target), space=SPACE.model_copy(update=space), protocol=protocol)
    assert table_name(info) == name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two names, and files that are none of theirs."""
    for name in ("nvidia-h200/inductor/toy-64x128-fp16", "nvidia-h200/tensorrt/toy-64x128-fp16", "deep/er/still/no"):
        path = tmp_path / "tables" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(make_table(), path, TableFormat.PARQUET)
    return tmp_path / "tables"


def test_a_name_finds_its_table(folder: Path) -> None:
    settings = ClientSettings.load(tables_dir=folder)
    assert load_table("nvidia-h200/inductor/toy-64x128-fp16", settings).table.entries


def test_the_environment_says_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_CLIENT_TABLES_DIR", str(folder))
    assert load_table("nvidia-h200/tensorrt/toy-64x128-fp16").table.entries


def test_a_path_goes_before_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "nvidia-h200" / "inductor" / "toy-64x128-fp16"
    path.write_text("no table at all")
    monkeypatch.chdir(folder)
    with pytest.raises(TableFileError, match="toy-64x128-fp16: it is none of the formats"):
        load_table("nvidia-h200/inductor/toy-64x128-fp16", ClientSettings.load(tables_dir=folder))


@pytest.mark.parametrize("name", ["nvidia-h200/inductor/toy-64x128-fp32", "h200/inductor/toy", "toy-64x128-fp16"])
def test_an_unknown_name_offers_the_near_ones(folder: Path, name: str) -> None:
    with pytest.raises(TableChoiceError, match="neither a file nor a table in") as caught:
        load_table(name, ClientSettings.load(tables_dir=folder))
    assert "nvidia-h200/inductor/toy-64x128-fp16" in caught.value.hint
    assert "still" not in caught.value.hint


def test_a_name_cannot_lead_out_of_the_folder(folder: Path) -> None:
    inside = folder / "nvidia-h200"
    with pytest.raises(TableChoiceError):
        load_table("../nvidia-h200/inductor/toy-64x128-fp16", ClientSettings.load(tables_dir=inside))


def test_without_a_folder_it_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(TableChoiceError, match="is no folder") as caught:
        load_table("nvidia-h200/inductor/toy-64x128-fp16", ClientSettings.load(tables_dir=tmp_path / "absent"))
    assert "OPCLOCK_CLIENT_TABLES_DIR" in caught.value.hint


def test_every_table_of_this_repository_is_what_its_card_says() -> None:
    for path in sorted(PUBLISHED.glob("*/*/*.parquet")):
        table, card = read_table(path), TableCard.parse_json(path.with_suffix(".json").read_bytes(), source=str(path))
        assert card.name == table_name(table.info) == path.relative_to(PUBLISHED).with_suffix("").as_posix()
        assert (card.table_id, card.etag, card.info) == (table.info.id(), table_etag(table), table.info), path
        assert card.failed == len(table.entries) - len(table.values_ms()), path
        assert table.info.provenance.keys().isdisjoint({"host", "system"}), path


def test_no_card_of_this_repository_is_without_its_table() -> None:
    cards = sorted(PUBLISHED.glob("*/*/*.json"))
    assert [str(path) for path in cards if not path.with_suffix(".parquet").exists()] == []
