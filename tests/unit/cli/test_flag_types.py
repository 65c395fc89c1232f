"""Numbers on the command line are finite, whatever the command and wherever the number stands."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator

import pytest
import tyro

from rrl_agents.reincarnation.registry import METHODS
from services.cli.experiment_flags import parse
from services.cli.flag_types import FLAG_TYPES
from services.cli.train_command import Train
from services.launcher.presets import PAPER, PRESETS
from services.shared.errors import UserError


def float_settings(config: object, prefix: str = "--") -> Iterator[str]:
    """Flags of an experiment that take a number which need not be whole."""
    hints = typing.get_type_hints(type(config))
    for name, value in vars(config).items():
        flag = f"{prefix}{name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            yield from float_settings(value, f"{flag}.")
        elif hints[name] in (float, float | None):
            yield flag


METHOD_OF_FLAG = {
    flag: method for method in METHODS for flag in float_settings(PRESETS[method][PAPER])
}


def test_every_part_of_an_experiment_is_among_them() -> None:
    groups = {flag.rpartition(".")[0] for flag in METHOD_OF_FLAG}
    assert {"--teacher", "--evaluation", "--method.distillation", "--method.weaning"} <= groups


@pytest.mark.parametrize("flag", METHOD_OF_FLAG)
def test_no_setting_takes_nan(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(Train, [METHOD_OF_FLAG[flag], "--run", "x", f"{flag}=nan"], "rrl train")
    # In a box, with long words broken.
    printed = re.sub(r"[^\w.-]", "", "".join(capsys.readouterr()))
    assert flag in printed and "nanisnotafinitenumber" in printed


def numbers(
    plain: float = 0.5,
    perhaps: float | None = None,
    *,
    many: tuple[float, ...] = (),
    whole: int = 3,
) -> object:
    return plain, perhaps, many, whole


def read(words: str) -> object:
    return tyro.cli(numbers, args=words.split(), prog="rrl", registry=FLAG_TYPES)


@pytest.mark.parametrize("flag", ["--plain", "--perhaps", "--many 1"])
@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1e400"])
def test_a_number_that_is_not_finite_is_refused(flag: str, word: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        read(f"{flag}={word}" if flag != "--many 1" else f"{flag} {word}")


@pytest.mark.parametrize(
    "word", ["12345678901234567890", "-12345678901234567890", f"{10**18}", "1.5", "nan"]
)
def test_a_whole_number_that_no_array_holds_is_refused(word: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        read(f"--whole {word}")


def test_other_numbers_are_read_as_they_are() -> None:
    read_all = read("--plain 2 --perhaps -1e-3 --many 1 2.5 --whole -17")
    assert read_all == (2.0, -0.001, (1.0, 2.5), -17)
    assert read("--perhaps None --many") == (0.5, None, (), 3)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**32 + 7])
def test_a_seed_that_another_one_equals_is_refused(seed: int) -> None:
    # JAX's keys hold 32 bits of it: 2^32 would draw the weights of 0.
    with pytest.raises(UserError, match=f"seed must be 0 to 4294967295, got {seed}"):
        parse(Train, ["tabula_rasa", "--run", "x", f"--seed={seed}"], "rrl train")
