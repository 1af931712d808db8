"""Options and alternatives of a space that has its own of both, in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.spaces.base import DecodeOptions
from models.spaces.decoding import every
from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode, InvalidSpecError
from models.spec.table_files import TableFormat, write_table
from tests.support.choosy_space import ChoosyOptions, ChoosySpace
from tests.support.client_command import Command
from tests.support.fake_service import make_table

SPACE = ChoosySpace.from_spec(SpaceSpec(name="choosy", input_size=(16, 24)))
ODDS = {"0": np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]]), "1": np.array([[0.1, 0.7, 0.2]] * 3)}
BEST = ("skip", "conv3x3", "zoomed_conv3x3_x2", "conv3x3", "conv3x3", "conv3x3")
SECOND = ("conv3x3", "zoomed_conv3x3_x2", "skip", *["zoomed_conv3x3_x2"] * 3)


def kinds(alternative: str, options: DecodeOptions | None = None) -> Any:
    return SPACE.decode({"alpha": ODDS, "beta": {}, "gamma": {}}, alternative=alternative, options=options).genotype[
        "operators"
    ]


def test_options_reach_the_space_that_they_are_of() -> None:
    assert kinds("ahead") == kinds("ahead", DecodeOptions(exact=True)) == BEST
    assert kinds("ahead", ChoosyOptions(rules="published")) == SECOND
    assert kinds("back", ChoosyOptions(skipless=True)) == (*BEST[:0:-1], "conv3x3")


def test_alternatives_are_listed_where_one_is_unknown() -> None:
    for text, said in {"": "none given", "up": "'up' is none of those of search space 'choosy'"}.items():
        with pytest.raises(InvalidSpecError, match=said) as caught:
            kinds(text)
        assert caught.value.hint == "Known: ahead, back."


def test_all_options_with_listed_values_are_made_the_defaults_first() -> None:
    made = every(ChoosyOptions)
    assert made[0] == ChoosyOptions()
    assert len(set(made)) == len(made) == 8
    assert {options.shift for options in made} == {0}
    assert every(DecodeOptions) == (DecodeOptions(), DecodeOptions(exact=True))


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    write_table(make_table(SPACE.spec), tmp_path / "table.arrow", TableFormat.ARROW)
    logits = {"alpha": {group: np.log(rows).tolist() for group, rows in ODDS.items()}}
    (tmp_path / "logits.json").write_text(json.dumps(logits))
    return ["derive", "--table", tmp_path / "table.arrow", "--parameters", tmp_path / "logits.json"]


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((), ChoosyOptions()),
        (("--rules", "published", "--shift=2"), ChoosyOptions(rules="published", shift=2)),
        (("--skipless",), ChoosyOptions(skipless=True)),
    ],
)
def test_the_command_line_has_the_spaces_options(
    nas_client: Command, arguments: list[object], given: tuple[str, ...], options: ChoosyOptions
) -> None:
    ended = nas_client(*arguments, *given, "--json")
    assert ended.code == ExitCode.DONE
    found = {one["alternative"]: tuple(one["architecture"]["genotype"]["operators"]) for one in ended.document["architectures"]}
    assert found == {alternative: kinds(alternative, options) for alternative in ("ahead", "back")}


def test_what_is_no_option_of_the_space_is_refused(nas_client: Command, arguments: list[object]) -> None:
    ended = nas_client(*arguments, "--rule", "published")
    assert ended.code == ExitCode.USAGE
    said = " ".join(ended.err.replace("│", " ").split())
    assert "no such option: --rule. Options of search space 'choosy': --rules ours|published;" in said
    ended = nas_client(*arguments, "--rules", "theirs", "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert "options: ChoosyOptions.rules: " in ended.document["error"]["message"]
    assert "theirs" in ended.document["error"]["message"]
    assert nas_client(*arguments, "--rules").code == ExitCode.USAGE
    assert "unknown role 'teacher'" in nas_client(*arguments, "--teacher", "--json").document["error"]["message"]


def test_spaces_are_listed_with_their_options(nas_client: Command) -> None:
    found = {space["name"]: space for space in nas_client("spaces", "--json").document["spaces"]}
    assert found["fasterseg"]["alternatives"] == ["8,16", "8,32", "16,32"]
    assert found["fasterseg"]["roles"] == ["student", "teacher"]
    assert found["choosy"]["options"][0] == {
        "option": "--rules ours|published",
        "help": "Whose rules to decode by: the published ones keep the second-best operator everywhere. By default ours.",
    }
    assert [option["option"] for option in found["choosy"]["options"][1:]] == ["--skipless, --no-skipless", "--shift SHIFT"]
    listed = nas_client("spaces").out
    assert "  --alternative: ahead back" in listed
    assert "  --shift SHIFT: By how many edges the choices are rotated. By default 0." in listed
