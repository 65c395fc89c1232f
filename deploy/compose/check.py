"""Run docker-compose.yml for real, and check that it works, survives kills, and resumes.

    python deploy/compose/check.py [--no-build] [--keep]

Needs a Docker engine with compose v2, and this repository's environment (`make setup`). If the
image of Prometheus cannot be pulled, Debian's package is used instead. Takes about seven minutes
on two busy cores after the first build.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
from prometheus_api import Prometheus, Samples, dashboard_queries
from stack import ROLES, ROOT, CommandError, Stack, is_healthy, missing_engine, run

from services.shared.addresses import free_port

# A run that is quick on two cores: short stages, short episodes, a checkpoint every 10 s. The
# teacher's return is out of reach, so the student queries its teacher to the end.
_SETTINGS = """
    --teacher.mean-return 1000 --method.weaning.wean-steps 1000000000
    --teacher-steps 600 --method.offline-updates 60 --method.q-learning.min-replay-size 200
    --online-steps 10000000 --replay-capacity 20000 --checkpoint-period-seconds 10
    --evaluation.episodes 2 --evaluation.num-envs 2 --environment.max-episode-steps 200
    --offline-evaluation-period 10000000 --online-evaluation-period 200
"""
_UPDATES = 'rrl_learner_progress{what="online_updates"}'
_KILLED = ("actor", "learner", "replay", "teacher", "evaluator")
_TEACHER = "Pong/dqn-bundled"
_STATES = 16

# Usually seconds; minutes on a busy machine.
_PATIENCE_SECONDS = 600.0

_began = time.monotonic()


class CheckFailed(Exception):
    """A check failed."""


def main() -> None:
    """Run all checks; exits with 1 if one fails, and with 2 without an engine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--no-build", action="store_true", help="use existing images")
    parser.add_argument("--keep", action="store_true", help="leave the stack up at the end")
    flags = parser.parse_args()
    if reason := missing_engine():
        print(f"there is no Docker engine with compose v2 here: {reason}", file=sys.stderr)
        raise SystemExit(2)
    check = Check()
    try:
        check.everything(build=not flags.no_build)
    except (CheckFailed, CommandError) as error:
        say(f"FAILED: {error}")
        print(check.stack.logs(lines=25))
        raise SystemExit(1) from error
    finally:
        if not flags.keep:
            check.stack.compose("down", "-v", "--remove-orphans")
    if not flags.keep and (left := check.stack.left_behind()):
        raise SystemExit(f"`down -v` left {len(left)} things behind: {left}")
    say("all checks passed")


class Check:
    """One stack, from its images to its removal."""

    def __init__(self) -> None:
        cores = str(min(2, os.cpu_count() or 1))
        self._teacher_port, prometheus_port = free_port(), free_port()
        self.stack = Stack(
            f"rrl-check-{os.getpid()}",
            {
                "RRL_SETTINGS": " ".join(_SETTINGS.split()),
                "RRL_TAG": "check",
                "RRL_TEACHER_PORT": str(self._teacher_port),
                "RRL_PROMETHEUS_PORT": str(prometheus_port),
                **{f"RRL_{role}_CPUS": cores for role in ("TEACHER", "REPLAY", "LEARNER")},
            },
        )
        self._prometheus = Prometheus(f"http://127.0.0.1:{prometheus_port}")
        self._actors = 2

    def everything(self, *, build: bool) -> None:
        """Run all steps in order.

        Raises:
            CheckFailed: one found something wrong.
            CommandError: a command failed.
        """
        if build:
            self.stack.build()
            say("images are built")
        self.images_are_small_and_bare()
        self.stack.compose("up", "-d", "--wait", "--no-build")
        say("up, and every container is healthy")
        self.containers_are_locked_down()
        self.numbers_rise()
        self.teacher_answers_from_outside()
        self.dashboard_shows_everything()
        for service in _KILLED:
            self.survives_the_death_of(service)
        self.scales_to(3)
        self.resumes_after_a_stop()

    def images_are_small_and_bare(self) -> None:
        """They contain no tools to build or install with, and no secrets."""
        for service in ("teacher", "replay"):
            image = self.stack.image(service)
            tools = "for t in gcc cc pip make git curl; do command -v $t; done; true"
            found = run(
                ["docker", "run", "--rm", "--network=none", "--entrypoint=sh", image["Id"], "-c"]
                + [tools]
            )
            expect(not found, f"{service}'s image has {found.split()}")
            names = [entry.partition("=")[0] for entry in image["Config"]["Env"]]
            secret = [n for n in names if any(w in n for w in ("TOKEN", "PASSWORD", "SECRET"))]
            expect(not secret, f"{service}'s image sets {secret}")
            say(f"{image['RepoTags'][0]}: {image['Size'] / 1e6:,.0f} MB")

    def containers_are_locked_down(self) -> None:
        """Users, file systems, capabilities, limits and ports, as the engine has them."""
        for service in (*ROLES, "prometheus"):
            for container in self.stack.containers(service):
                host, name = container["HostConfig"], container["Name"]
                user = container["Config"]["User"].partition(":")[0]
                expect(user.isdigit() and int(user) > 0, f"{name} runs as {user!r}")
                expect(host["ReadonlyRootfs"], f"{name} can write its root file system")
                expect(host["CapDrop"] == ["ALL"], f"{name} drops {host['CapDrop']}")
                expect("no-new-privileges:true" in host["SecurityOpt"], f"{name} may gain rights")
                limits = (host["Memory"], host["NanoCpus"], host["PidsLimit"])
                expect(all(limit and limit > 0 for limit in limits), f"{name} has limits {limits}")
                open_to = container["NetworkSettings"]["Ports"].items()
                hosts = {at["HostIp"] for _, bound in open_to for at in bound or ()}
                allowed = {"127.0.0.1"} if service in ("teacher", "prometheus") else set()
                expect(hosts == allowed, f"{name} is published on {hosts}")
        say("users, file systems, capabilities, limits and ports are correct")

    def numbers_rise(self) -> None:
        """Everything is scraped, and learner and actors make progress."""
        wait_for("Prometheus sees every role", self._all_are_up)
        wait_for("the run is online", lambda: self._prometheus.total(_UPDATES) > 0)
        self._rises("sum(rrl_learner_updates_total)")
        self._all_actors_step()
        rules = self._prometheus.rules()
        expect(bool(rules), "Prometheus has loaded no alert rules")
        # Raises if a rule's test fails: not every machine has its own promtool.
        self.stack.compose(
            *("exec", "-T", "prometheus", "promtool", "test", "rules"),
            "/etc/prometheus/alerts_test.yml",
        )
        say(f"updates and steps rise; {len(rules)} alert rules are loaded and pass their tests")

    def teacher_answers_from_outside(self) -> None:
        """`rrl teacher query` on the host gives what the same teacher computes here."""
        query = [sys.executable, "-m", "services.cli.main", "teacher", "query"]
        with tempfile.TemporaryDirectory() as folder:
            states, served, computed = (Path(folder) / f"{n}.npz" for n in ("s", "served", "own"))
            random = np.random.default_rng(0)
            np.savez(states, states=random.integers(0, 256, (_STATES, 84, 84, 4), np.uint8))
            asked = [*query, "--states", str(states), "--out"]
            address = f"127.0.0.1:{self._teacher_port}"
            run([*asked, str(served), "--address", address], cwd=ROOT)
            run([*asked, str(computed), "--checkpoint", _TEACHER], cwd=ROOT)
            there, here = (np.load(file)["q_values"] for file in (served, computed))
        expect(
            np.allclose(there, here, atol=1e-3), "the served action values are not the teacher's"
        )
        say(f"the teacher answered {_STATES} states from outside correctly")

    def dashboard_shows_everything(self) -> None:
        """No dashboard query returns nothing."""
        queries = dashboard_queries(ROOT / "deploy" / "grafana" / "dashboards")
        expect(bool(queries), "there is no dashboard")
        for title, expressions in queries.items():
            for expression in expressions:
                wait_for(
                    f"{title!r} shows something: {expression}",
                    lambda e=expression: bool(self._prometheus.values(e)),  # type: ignore[misc]
                )
        count = sum(len(expressions) for expressions in queries.values())
        say(f"none of the dashboard's {count} queries returns nothing")

    def survives_the_death_of(self, service: str) -> None:
        """Kill it (SIGKILL): it restarts, and the run resumes from its last checkpoint."""
        number, floor = self._newest_checkpoint()
        before = self._prometheus.total(_UPDATES)
        victim = self.stack.containers(service)[0]
        killed_at = time.time()
        self.stack.kill(victim)

        def is_back() -> bool:
            now = next(c for c in self.stack.containers(service) if c["Id"] == victim["Id"])
            return bool(now["RestartCount"] > victim["RestartCount"]) and is_healthy(now)

        wait_for(f"{service} is back", is_back)
        back_seconds = time.time() - killed_at
        wait_for("the learner makes progress", lambda: self._prometheus.total(_UPDATES) > before)
        self._all_actors_step()
        if service == "teacher":
            self._rises('sum(rrl_actor_queries_total{result="answered"})')
        if service == "evaluator":
            wait_for("it evaluates", lambda: self._rose_since(killed_at, "evaluations_total"))
        after = [value for t, value in self._updates().items() if t > killed_at]
        lowest = min(after)
        expect(
            lowest >= floor,
            f"updates went back to {lowest}, checkpoint {number} had {floor} or more",
        )
        lost = max(0.0, before - lowest)
        say(
            f"{service} was killed: healthy again after {back_seconds:.0f} s, {lost:.0f} updates "
            f"lost (at {before:.0f}; checkpoint {number} had at least {floor:.0f})"
        )

    def scales_to(self, actors: int) -> None:
        """More actors join the run, and Prometheus finds them."""
        self.stack.compose(
            *("up", "-d", "--wait", "--no-build", "--no-recreate", "--scale", f"actor={actors}")
        )
        self._actors = actors
        wait_for("Prometheus sees every actor", self._all_are_up)
        self._all_actors_step()
        say(f"{actors} actors play")

    def resumes_after_a_stop(self) -> None:
        """`down` keeps the run, whose volumes stay."""
        before = self._prometheus.total(_UPDATES)
        self.stack.compose("down")
        self._actors, began = 2, time.time()
        self.stack.compose("up", "-d", "--wait", "--no-build")
        wait_for("the learner makes progress", lambda: self._prometheus.total(_UPDATES) > before)
        lowest = min(value for t, value in self._updates().items() if t > began)
        expect(lowest >= before, f"`down` cost updates: {before:.0f} before, {lowest:.0f} after")
        say(f"down and up again: resumed from {lowest:.0f} updates ({before:.0f} before)")

    def _updates(self) -> Samples:
        return self._prometheus.samples(_UPDATES, minutes=60)

    def _newest_checkpoint(self) -> tuple[int, float]:
        """Number of the newest checkpoint, and as many updates as it has at the least.

        It was written between two scrapes: it has no fewer updates than the earlier one saw.
        """
        checkpoints = self._prometheus.samples("rrl_learner_checkpoint_number", minutes=60)
        updates = self._updates()
        newest = max(checkpoints.values())
        first_seen = min(t for t, number in checkpoints.items() if number == newest)
        earlier = [t for t in updates if t < first_seen]
        return int(newest), updates[max(earlier)] if earlier else 0.0

    def _all_are_up(self) -> bool:
        others = len(ROLES) - 1
        return self._prometheus.total("up == 1") == others + self._actors

    def _all_actors_step(self) -> None:
        moving = "count(rate(rrl_actor_steps_total[20s]) > 0)"
        wait_for("every actor plays", lambda: self._prometheus.total(moving) == self._actors)

    def _rises(self, expression: str) -> None:
        before = self._prometheus.total(expression)
        wait_for(f"{expression} rises", lambda: self._prometheus.total(expression) > before)

    def _rose_since(self, time_: float, counter: str) -> bool:
        found = self._prometheus.samples(f"rrl_evaluator_{counter}", minutes=60)
        return any(value > 0 for t, value in found.items() if t > time_)


def expect(condition: bool, otherwise: str) -> None:
    """Check a condition.

    Raises:
        CheckFailed: it does not hold.
    """
    if not condition:
        raise CheckFailed(otherwise)


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Check every second until it holds.

    Raises:
        CheckFailed: it did not hold in time.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            # Prometheus is starting or stopping.
            pass
        time.sleep(1.0)
    raise CheckFailed(f"{what}: not within {_PATIENCE_SECONDS:g} s")


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"[{time.monotonic() - _began:6.1f} s] {text}", flush=True)


if __name__ == "__main__":
    main()
