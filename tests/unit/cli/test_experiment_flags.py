from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rrl_agents.reincarnation.qdagger import QDaggerConfig
from services.cli.experiment_flags import Settings, parse, required
from services.launcher.presets import DEMO, PAPER, PRESETS
from services.shared.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A command with an experiment.

    Attributes:
        experiment: What is run.
        run: Folder of the run.
        port: A number.
    """

    experiment: Settings
    run: Path = required()
    port: int = 5


def order(*arguments: str) -> Order:
    return parse(Order, arguments, "rrl order")


def test_without_a_preset_it_is_the_papers() -> None:
    assert order("qdagger", "--run", "x").experiment == PRESETS["qdagger"][PAPER]


@pytest.mark.parametrize("words", [("--preset", "demo"), ("--preset=demo",)], ids=" ".join)
def test_a_preset_is_chosen_wherever_it_stands(words: tuple[str, ...]) -> None:
    wanted = PRESETS["tabula_rasa"][DEMO]
    assert order("tabula_rasa", *words, "--run", "x").experiment == wanted
    assert order("tabula_rasa", "--run", "x", *words).experiment == wanted


def test_flags_change_one_setting_of_the_preset_each() -> None:
    flags = (
        "--run=somewhere",
        "--seed=3",
        "--method.q-learning.n-step=5",
        "--network.features",
        "8",
        "16",
        "16",
    )
    got = order("qdagger", "--preset=demo", *flags)
    demo = PRESETS["qdagger"][DEMO]
    method = demo.method
    assert got.run == Path("somewhere")
    assert got.port == 5
    assert got.experiment == dataclasses.replace(
        demo,
        seed=3,
        method=dataclasses.replace(
            method, q_learning=dataclasses.replace(method.q_learning, n_step=5)
        ),
        network=dataclasses.replace(demo.network, features=(8, 16, 16)),
    )
    assert isinstance(got.experiment.method, QDaggerConfig)


def test_unknown_methods_and_presets_are_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match=r"'dagger' is no method; .*qdagger, tabula_rasa"):
        order("dagger", "--run", "x")
    with pytest.raises(UserError, match="'' is no method"):
        order()
    with pytest.raises(UserError, match="'fast' is no preset of qdagger; use paper, demo"):
        order("qdagger", "--preset", "fast")
    with pytest.raises(UserError, match="--preset needs a name"):
        order("qdagger", "--preset")


def test_settings_that_do_not_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="num_actors must be at least 1, got 0"):
        order("qdagger", "--run=x", "--num-actors=0")
    # Settings of a part are refused by the parser, which shows them in a box.
    with pytest.raises(SystemExit) as ended:
        order("qdagger", "--run=x", "--method.temperature=-1")
    assert ended.value.code == 2
    assert "temperature is -1.0; use a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [("--run=x", "--seed=x"), ("--run=x", "--sed=1"), ()],
    ids=["no number", "no such flag", "required one missing"],
)
def test_flags_that_cannot_be_read_end_the_command(
    flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        order("qdagger", *flags)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--" in captured.err


def test_help_lists_methods_and_then_flags_with_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        order("--help")
    assert ended.value.code == 0
    assert "qdagger, tabula_rasa" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        order("qdagger", "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--method.temperature" in shown
    assert "0.1" in shown
