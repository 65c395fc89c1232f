"""What becomes of each command of the pages: run in which tests, how shortened, or why not.

A command's kind follows from the command alone: its program, or a placeholder in it. Where nothing
in `RULES` fits a new command, a test fails and says so.
"""

from __future__ import annotations

import enum
import re

from tests.support.pages import Command


class Kind(enum.Enum):
    """What becomes of a command."""

    QUICK = "run by `make test`: a few seconds, and needs no slow command before it"
    SLOW = "run by `make test-slow`"
    SERVES = "run by `make test-slow` until its page ends, or starts it once more"
    DEMO = "run by `make test-slow`, once for all pages"
    BENCHMARK = "run by tests/benchmarks with --smallest"
    TENSORBOARD = "run by test_programs.py"
    THESE_TESTS = "runs the tests themselves"
    DOCKER = "needs a Docker engine: tests/deploy runs the stack where there is one"
    KUBERNETES = "needs a cluster"
    FIREWALL = "changes the machine's firewall"
    GRPCURL = "needs grpcurl"
    GPU = "needs a GPU, and downloads gigabytes for it"
    HUB_ACCOUNT = "needs an account of the Hugging Face Hub"
    PUBLIC_AGENT = "downloads a public agent, 65 MB to gigabytes"
    OTHER_MACHINE = "asks another machine"
    RELEASE = "part of a release: changes the checkout, or builds and installs from an index"


RUN = (Kind.QUICK, Kind.SLOW, Kind.SERVES)
"""The kinds that a page's test runs itself, in the page's order."""

# The first that fits decides.
RULES = (
    (r"^(git|sed|uv) |^rm -rf dist$|^dist/|^make setup$|^\.ci/run$", Kind.RELEASE),
    (r"^(docker|kind) |deploy/compose/check\.py", Kind.DOCKER),
    (r"^kubectl ", Kind.KUBERNETES),
    (r"^ip6?tables ", Kind.FIREWALL),
    (r"^grpcurl ", Kind.GRPCURL),
    (r"training-cuda\.lock", Kind.GPU),
    (r"hf://ORG/REPO", Kind.HUB_ACCOUNT),
    (r"^rrl teacher fetch |dqn400", Kind.PUBLIC_AGENT),
    (r"\bteacher\.example:|\breplay:50052|http://HOST:", Kind.OTHER_MACHINE),
    (r"^make (lint|types|test)\b", Kind.THESE_TESTS),
    (r"^make demo$", Kind.DEMO),
    (r"^python -m benchmarks\.", Kind.BENCHMARK),
    (r"\btensorboard ", Kind.TENSORBOARD),
    (r"^(cd|cp|mkdir|ln|umask|printf|openssl) ", Kind.QUICK),
    (r"^rrl (list|teacher list|teacher inspect)\b", Kind.QUICK),
    (r"^rrl (teacher serve|replay|learner|actor) | --watch$", Kind.SERVES),
    (r"^rrl (train|evaluator|evaluate|play|report|status|lineage|bench) ", Kind.SLOW),
    (r"^rrl teacher (export|import|query|label|minari) ", Kind.SLOW),
    (r"^(\S+/)?(python3?|pip) ", Kind.SLOW),
)

TINY = (
    "--teacher-steps 400 --online-steps 600 --method.q-learning.min-replay-size 200"
    " --evaluation.episodes 1 --evaluation.final-episodes 2 --evaluation.num-envs 2"
    " --environment.max-episode-steps 100"
)
LOCAL = "127.0.0.1"

# Documented flags, appended to what fits; of a flag given twice the last one counts. In braces a
# free port, the same for all commands of a page.
APPENDED = (
    (r"^rrl (train|replay|learner|actor|evaluator) ", TINY),
    (r"^rrl (train|replay|learner|actor|evaluator) (?!tabula_rasa)", "--method.offline-updates 50"),
    (r"^rrl (replay|learner|evaluator) ", "--run runs/roles"),
    (r"^rrl replay ", f"--host {LOCAL} --port {{replay}} --control-port {{control}}"),
    (r"^rrl learner ", f"--host {LOCAL} --port {{learner}} --replay-address {LOCAL}:{{replay}}"),
    (r"^rrl learner ", f"--replay-control-address {LOCAL}:{{control}}"),
    (r"^rrl actor ", f"--replay-address {LOCAL}:{{replay}}"),
    (r"^rrl (actor|evaluator) ", f"--learner-address {LOCAL}:{{learner}}"),
    (r"^rrl (actor|evaluator) ", f"--teacher-address {LOCAL}:{{teacher}}"),
    (r"^rrl teacher serve ", f"--host {LOCAL} --port {{teacher}} --metrics-port 0"),
    (r"^rrl teacher (query|label) .*--address ", f"--address {LOCAL}:{{teacher}}"),
    (r"play_with_teacher\.py ", f"--address {LOCAL}:{{teacher}} --max-steps 50"),
    (r"^rrl (evaluate|play) ", "--episodes 2 --environment.max-episode-steps 100"),
    # Without it, random play is measured first: minutes.
    (r"--preset balloon ", "--environment.random-return 0"),
    # Its environment is there.
    (r"^make demo$", "-o setup"),
    (r" my_package:make_teacher ", "--preset small --environment.game CartPole-v1"),
    # Installed beside what this environment has; nothing is downloaded.
    (r"^(\.venv/bin/)?pip install ", "--no-deps --no-index --no-build-isolation"),
)

FIXTURES = "tests/fixtures"
AGENT = f"{FIXTURES}/dopamine4.0.6_flax0.6.11_jaxarray/1"
LANDER = f"{FIXTURES}/other_agents/sb3_ppo_lunar_lander/model.zip"
IMPORT_LANDER = (
    f"rrl teacher import {LANDER} --game LunarLander-v3 --temperature 0.25"
    " --name LunarLander-v3/ppo"
)
STATES = (
    "python -c 'import numpy;"
    ' numpy.savez("states.npz", states=numpy.zeros((2, 84, 84, 4), "uint8"))\''
)

# What a page's reader has already, as commands that run before it: files under the names that the
# page uses, a run of an earlier page, and a suite of a minute in the place of one of hours.
TAKEN_FOR_GRANTED = {
    "README.md": (
        f"cp {LANDER} ppo.zip",
        "mkdir -p path/to/dopamine",
        f"cp -r {AGENT} path/to/dopamine/agent",
        "cp -r examples/own_policy examples/my_package",
        "ln -s examples/my_package my_package",
        "ln -s examples/own_policy own_policy",
        f"rrl teacher import {AGENT} --game pong --name Pong/a",
        f"rrl teacher import {AGENT} --game pong --name Pong/b",
        "cp suites/catch_smoke.toml suites/minatar.toml",
    ),
    "docs/benchmark.md": ("cp suites/catch_smoke.toml suites/minatar.toml",),
    "docs/environments.md": (
        IMPORT_LANDER,
        "cp suites/catch_smoke.toml suites/balloon.toml",
    ),
    "docs/observability.md": (
        "rrl train tabula_rasa --run RUN --student vector_dqn --environment.name catch"
        " --teacher.checkpoint None --teacher.mean-return 1 --one-process",
    ),
    "docs/prior-work.md": (
        "mkdir -p path/to/dopamine",
        f"cp -r {AGENT} path/to/dopamine/agent",
        f"cp -r {AGENT} path/to/agent",
        f"cp -r {AGENT}/checkpoints DATA",
        f"cp {LANDER} ppo-LunarLander-v3.zip",
        "rrl train qdagger --preset demo --run runs/pong-demo-1 --one-process",
        "rrl teacher export runs/pong-demo-1 --name qdagger-mine --out exported --onnx",
        "rrl teacher export runs/pong-demo-1 --name qdagger-mine",
        "ln -s exported/model.onnx policy.onnx",
        "rrl teacher minari runs/pong-demo-1 --out ~/.minari/datasets/pong/mine-v0",
    ),
    "docs/runs.md": (
        f"cp {LANDER} ppo.zip",
        "rrl train qdagger --preset demo --run runs/mine",
        "cp -r runs/mine/checkpoints/$(ls runs/mine/checkpoints | tail -1)"
        " runs/mine/checkpoints/00000007",
    ),
    "docs/teacher-clients.md": (STATES, "rrl teacher serve --checkpoint pong_dqn"),
    "docs/teacher-operations.md": ("mkdir -p path/to", f"cp -r {AGENT} path/to/teacher"),
    "docs/training.md": (IMPORT_LANDER,),
    "examples/own_policy/README.md": (
        "ln -s examples/own_policy own_policy",
        "ln -s examples/own_policy my_package",
    ),
    "rrl_client/README.md": ("mkdir -p path/to/this", 'ln -s "$PWD" path/to/this/repository'),
}


def kind(command: Command) -> Kind | None:
    """What becomes of a command; None where no rule fits."""
    return next((found for pattern, found in RULES if re.search(pattern, command.text)), None)


def shortened(command: Command, ports: dict[str, int]) -> str:
    """The command line with all that `APPENDED` has for it."""
    flags = [flags for pattern, flags in APPENDED if re.search(pattern, command.text)]
    return " ".join([command.text, *(text.format(**ports) for text in flags)])


def of_page(page: str, written: list[Command]) -> list[Command]:
    """A page's commands in order, what is taken for granted first."""
    given = [Command("taken for granted", page, text) for text in TAKEN_FOR_GRANTED.get(page, ())]
    return given + [command for command in written if command.page == page]
