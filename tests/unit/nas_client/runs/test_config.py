"""Configurations from files and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from nas_client.runs.config import read_config, stated_fields, write_config
from nas_client.search.config import SearchConfig
from nas_client.train.config import TrainConfig


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_without_a_file_everything_is_the_papers() -> None:
    config = read_config(SearchConfig)
    assert (config.pretrain.epochs, config.search.epochs) == (20, 30)
    assert (config.pretrain.optimizer.lr, config.search.optimizer.lr) == (0.02, 0.01)
    assert (config.pretrain.batch_size, config.search.batch_size) == (3, 2)
    assert (config.pretrain.crop, config.search.crop) == ((256, 512), (224, 448))
    assert config.search.architecture.lr == 3e-4
    assert config.search.architecture.betas == (0.5, 0.999)
    assert config.latency.factor == 0.01
    assert config.latency.weights == (0.001, 0.997, 0.002)
    assert config.image_scale == 0.5


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 3\nsearch: {epochs: 7, optimizer: {lr: 1e-3}}\n")
    config = read_config(SearchConfig, path, ["search.epochs=9", "latency.weights=[1, 2, 3]", "search.crop=[64, 96]"])
    assert config.seed == 3
    assert config.search.epochs == 9
    assert config.search.optimizer.lr == 1e-3
    assert config.search.optimizer.momentum == 0.9
    assert config.latency.weights == (1.0, 2.0, 3.0)
    assert config.search.crop == (64, 96)


def test_a_space_says_what_neither_file_nor_command_line_does(tmp_path: Path) -> None:
    path = written(tmp_path, "search: {optimizer: {lr: 1e-3}}\n")
    base = {"search": {"epochs": 7, "crop": (64, 96), "optimizer": {"lr": 0.5, "schedule": "cosine"}}, "target_ms": 2.0}
    config = read_config(SearchConfig, path, ["search.epochs=9"], base=base)
    assert (config.search.epochs, config.search.crop, config.target_ms) == (9, (64, 96), 2.0)
    assert (config.search.optimizer.lr, config.search.optimizer.schedule) == (1e-3, "cosine")


def test_the_configurations_own_defaults_are_fastersegs() -> None:
    defaults = FasterSegSpace.search_defaults
    assert read_config(SearchConfig, base=defaults.model_dump(exclude={"training"})) == SearchConfig()
    assert read_config(TrainConfig, base=defaults.training.model_dump()) == TrainConfig()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = read_config(SearchConfig, None, ["latency.weights=solved", "space={name: fasterseg, input_size: [64, 64]}"])
    write_config(config, tmp_path / "config.yaml")
    assert read_config(SearchConfig, tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("search.epoch=9", "search.epoch"),
        ("search.epochs=-1", "search.epochs"),
        ("search.optimizer.lr=0", "search.optimizer.lr"),
        ("search.optimizer.momentum=fast", "search.optimizer.momentum"),
        ("latency.mode=decopled", "latency.mode"),
        ("latency.weights=[1, 2]", "latency.weights"),
        ("latency.weights=[0, 0, 0]", "weights are all 0"),
        ("hard_pixels.threshold=1.5", "hard_pixels.threshold"),
        ("data.image_size=[8, 64]", "data.image_size"),
        ("space={name: fastersegg, input_size: [64, 64]}", "fastersegg"),
        ("space={name: fasterseg, input_size: [65, 64]}", "65"),
    ],
)
def test_a_bad_field_is_named(override: str, named: str) -> None:
    with pytest.raises(InvalidSpecError, match=named.replace(".", r"\.")):
        read_config(SearchConfig, None, [override])


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("sead=3", "Did you mean 'seed'?"),
        ("search.epoch=9", "Did you mean 'epochs'?"),
        ("search.optimizer.learning=1", "Known: betas, clip_norm, decay, lr, method, momentum, power, schedule, weight_decay."),
        ("latency={weigths: solved}", "Did you mean 'weights'?"),
        ("space={name: fasterseg, input_size: [64, 64], clases: 3}", "Did you mean 'classes'?"),
    ],
)
def test_an_unknown_field_offers_the_nearest(override: str, hint: str) -> None:
    with pytest.raises(InvalidSpecError, match="there is no such field") as caught:
        read_config(SearchConfig, None, [override])
    assert caught.value.hint == hint


def test_an_unknown_field_of_one_of_several_records_offers_the_nearest() -> None:
    with pytest.raises(InvalidSpecError, match=r"branches\.0\.opertors: there is no such field") as caught:
        ArchitectureSpec.parse({"space": "fasterseg", "input_size": [64, 64], "branches": [{"opertors": ["conv3x3"]}]})
    assert caught.value.hint == "Did you mean 'operators'?"
    branches = [{"operators": ["conv3x3"]}, {"operators": ["conv3x3"], "scale": [8]}]
    with pytest.raises(InvalidSpecError, match=r"branches\.1\.scale: there is no such field") as caught:
        ArchitectureSpec.parse({"space": "fasterseg", "input_size": [64, 64], "branches": branches})
    assert caught.value.hint == "Did you mean 'scales'?"


def test_nothing_to_do_is_an_error() -> None:
    with pytest.raises(InvalidSpecError, match="all 0"):
        read_config(SearchConfig, None, ["pretrain.epochs=0", "search.epochs=0"])


@pytest.mark.parametrize("override", ["epochs", "=3"])
def test_an_override_without_field_or_value(override: str) -> None:
    with pytest.raises(InvalidSpecError, match="no field and value"):
        read_config(SearchConfig, None, [override])


def test_a_field_of_a_number_is_no_field() -> None:
    with pytest.raises(InvalidSpecError, match="a mapping of fields is needed, not int"):
        read_config(SearchConfig, None, ["search=3", "search.epochs=9"])


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"config\.yaml"):
        read_config(SearchConfig, written(tmp_path, text))


def test_what_is_wrong_is_looked_for_where_it_stands(tmp_path: Path) -> None:
    good, bad = written(tmp_path, "seed: 3\n"), tmp_path / "bad.yaml"
    bad.write_text("sead: 3\n")
    with pytest.raises(InvalidSpecError, match=r"^--set serch\.epochs=9: ") as caught:
        read_config(SearchConfig, good, ["serch.epochs=9"])
    assert "config.yaml" not in caught.value.message
    with pytest.raises(InvalidSpecError, match=r"^\S*bad\.yaml: SearchConfig\.sead"):
        read_config(SearchConfig, bad, ["seed=9"])


RSPNET = {"search": {"epochs": 300}, "second": {"epochs": 40}}


def test_fields_go_together_as_file_command_line_and_space_have_them(tmp_path: Path) -> None:
    """Not as the file and the defaults of the class would."""
    warm = written(tmp_path, "search: {warmup_epochs: 40}\n")
    assert read_config(SearchConfig, warm, base=RSPNET).search.epochs == 300
    assert read_config(SearchConfig, warm, ["search.epochs=100"]).search.warmup_epochs == 40
    short = tmp_path / "short.yaml"
    short.write_text("pretrain: {epochs: 0}\nsearch: {epochs: 0}\n")
    assert read_config(SearchConfig, short, base=RSPNET).second.epochs == 40
    for path, overrides, message in (
        (warm, [], r"^\S*config\.yaml: SearchConfig\.search: warmup_epochs is 40 of 30 epochs"),
        (warm, ["search.epochs=35"], r"^\S*config\.yaml --set search\.epochs=35: .* warmup_epochs is 40 of 35 epochs"),
        (None, ["search.warmup_epochs=40"], r"^--set search\.warmup_epochs=40: .* warmup_epochs is 40 of 30 epochs"),
        (short, [], r"^\S*short\.yaml: .* are all 0"),
    ):
        with pytest.raises(InvalidSpecError, match=message):
            read_config(SearchConfig, path, overrides)


def test_fields_that_are_wrong_by_themselves_are_found_without_the_space(tmp_path: Path) -> None:
    assert stated_fields(SearchConfig, None, ["search.warmup_epochs=40"]) == {"search": {"warmup_epochs": 40}}
    unfit = written(tmp_path, "search: {warmup_epochs: 40}\n")
    for override in ("search.warmup_epoch=40", "search.warmup_epochs=-1", "latency.weights=[0, 0, 0]"):
        with pytest.raises(InvalidSpecError, match=f"^--set {override.partition('=')[0]}"):
            stated_fields(SearchConfig, unfit, [override])
    bad = written(tmp_path, "search: {warmup_epochs: 40}\nsead: 3\n")
    with pytest.raises(InvalidSpecError, match=r"^\S*config\.yaml: SearchConfig\.sead: there is no such field") as caught:
        stated_fields(SearchConfig, bad, ["search.epochs=100"])
    assert caught.value.hint == "Did you mean 'seed'?"


def test_text_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("data: {root: /daten/straße}\n".encode("latin-1"))
    with pytest.raises(InvalidSpecError, match=r"config\.yaml: not in UTF-8"):
        read_config(SearchConfig, path)
    with pytest.raises(InvalidSpecError, match=r"data\.root=2024-13-45: not YAML: month must be in 1\.\.12"):
        read_config(SearchConfig, None, ["data.root=2024-13-45"])


def test_an_empty_file_states_nothing(tmp_path: Path) -> None:
    assert read_config(SearchConfig, written(tmp_path, "")) == SearchConfig()
