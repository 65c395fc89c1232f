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

NOT_FINITE = ("nan", "inf", "-inf", "1e400")


def float_settings(config: object, prefix: str = "") -> Iterator[str]:
    """Flags of an experiment that take a number which need not be whole."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(typing.cast(typing.Any, config)):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from float_settings(value, f"{name}.")
        elif hints[field.name] in (float, float | None):
            yield f"--{name.replace('_', '-')}"


METHOD_OF_FLAG = {
    flag: method for method in METHODS for flag in float_settings(PRESETS[method][PAPER])
}


def test_every_part_of_an_experiment_is_among_them() -> None:
    groups = {flag.rpartition(".")[0] for flag in METHOD_OF_FLAG}
    assert {"--teacher", "--evaluation", "--method.distillation", "--method.weaning"} <= groups


@pytest.mark.parametrize("flag", METHOD_OF_FLAG)
def test_no_setting_takes_nan(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(Train, [METHOD_OF_FLAG[flag], "--run", "x", f"{flag}=nan"], "rrl train")
    assert ended.value.code == 2
    # In a box, with long words broken.
    printed = re.sub(r"[^\w.-]", "", "".join(capsys.readouterr()))
    assert flag in printed and "nanisnotafinitenumber" in printed


def numbers(plain: float = 0.5, perhaps: float | None = None, *, many: tuple[float, ...]) -> object:
    return plain, perhaps, many


def read(*words: str) -> object:
    return tyro.cli(numbers, args=words, prog="rrl", registry=FLAG_TYPES)


@pytest.mark.parametrize("word", NOT_FINITE)
@pytest.mark.parametrize("flags", ["--plain={} --many 1", "--perhaps={} --many 1", "--many 1 {}"])
def test_a_number_that_is_not_finite_is_refused(flags: str, word: str) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*flags.format(word).split())
    assert ended.value.code == 2


def test_finite_numbers_are_read_as_they_are() -> None:
    read_all = read("--plain", "2", "--perhaps", "-1e-3", "--many", "1", "2.5")
    assert read_all == (2.0, -0.001, (1.0, 2.5))
    assert read("--perhaps", "None", "--many") == (0.5, None, ())


def whole(number: int = 3) -> int:
    return number


@pytest.mark.parametrize(
    "word", ["12345678901234567890", "-12345678901234567890", f"{10**18}", "1.5", "nan"]
)
def test_a_whole_number_that_no_array_holds_is_refused(word: str) -> None:
    with pytest.raises(SystemExit) as ended:
        tyro.cli(whole, args=["--number", word], prog="rrl", registry=FLAG_TYPES)
    assert ended.value.code == 2
    assert tyro.cli(whole, args=["--number", "-17"], prog="rrl", registry=FLAG_TYPES) == -17


@pytest.mark.parametrize("seed", [-1, 2**32, 2**32 + 7])
def test_a_seed_that_another_one_equals_is_refused(seed: int) -> None:
    # JAX's keys hold 32 bits of it: 2^32 would draw the weights of 0.
    with pytest.raises(UserError, match=f"seed must be 0 to 4294967295, got {seed}"):
        parse(Train, ["tabula_rasa", "--run", "x", f"--seed={seed}"], "rrl train")
