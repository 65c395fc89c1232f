"""What a cluster has to carry: bytes, CPU and memory of a run, per step, query, update, transition.

A teacher, a replay server, a learner and an actor run as separate processes on Pong with a
Nature DQN; every connection goes through a relay that counts its bytes. First the actor plays
freely while replay fills up; then the learner trains, with both at the replay ratio; finally a
checkpoint is written. CPU is each process's own time, so it does not depend on how many processes
share the machine: its inverse is the capacity of one core.

Ratios (lower is better, except the last):
    query_bytes_over_state        bytes to and from the teacher per state, over the state's own
    insert_bytes_over_frame       bytes to replay per transition, over its one new frame
    batch_bytes_over_frames       bytes from replay per sampled row, over its stack + n frames
    weights_bytes_over_params     bytes from the learner per set of weights, over its float32
    memory_over_frame             resident memory of replay per transition, over its one new frame
    checkpoint_over_frame         bytes of a checkpoint per transition, over its one new frame
    learner_updates_over_actor    actors that one learner keeps busy: steps per second that its
                                  updates allow, over the steps of one actor on its own core

    python -m benchmarks.cluster_numbers --quick --json
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import psutil

from benchmarks.harness import Round, parse_flags, print_outcome
from benchmarks.roles import ACTOR_ENVIRONMENT, learner_service, replay_service, running
from benchmarks.teacher.service import CHECKPOINT, teacher_service
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from services.learner.client import LearnerClient
from services.learner.codec import progress_from_proto
from services.learner.config import ShardAddress
from services.replay.connection import table_counts
from services.replay.table_names import STUDENT_TABLE
from services.shared.addresses import parse_address

FRAME_BYTES = 84 * 84
STATE_BYTES = 4 * FRAME_BYTES
# The stack and the n steps behind it: what a sampled row of a Nature DQN with n = 3 holds.
ROW_BYTES = 7 * FRAME_BYTES
NUM_ACTIONS = 6
BATCH_ROWS = 32
STEPS_PER_UPDATE = 4
_CHUNK = 2**16

RATIOS = {
    "query_bytes_over_state": ("query_bytes", "state_bytes"),
    "insert_bytes_over_frame": ("insert_bytes", "frame_bytes"),
    "batch_bytes_over_frames": ("sampled_row_bytes", "row_bytes"),
    "weights_bytes_over_params": ("weights_bytes", "params_bytes"),
    "memory_over_frame": ("replay_memory_per_transition", "frame_bytes"),
    "checkpoint_over_frame": ("checkpoint_bytes_per_transition", "frame_bytes"),
    "learner_updates_over_actor": ("steps_the_learner_allows_per_s", "actor_steps_per_core_s"),
}


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats = flags.pick(full=2, quick=1, smallest=1)
    transitions = flags.pick(full=20_000, quick=4_000, smallest=2_000)
    seconds = flags.pick(full=40.0, quick=10.0, smallest=2.0)
    settle_seconds = flags.pick(full=3.0, quick=3.0, smallest=0.1)
    rounds = [_round(transitions, seconds, settle_seconds) for _ in range(repeats)]
    print_outcome(rounds, RATIOS, flags)


def _round(transitions: int, seconds: float, settle_seconds: float) -> Round:
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder), transitions) as cluster:
        free = cluster.play_freely(transitions, settle_seconds)
        trained = cluster.train(seconds, settle_seconds)
        kept = cluster.checkpoint()
    return {
        **free,
        **trained,
        **kept,
        "state_bytes": STATE_BYTES,
        "frame_bytes": FRAME_BYTES,
        "row_bytes": ROW_BYTES,
        "params_bytes": _params_bytes(),
        "steps_the_learner_allows_per_s": STEPS_PER_UPDATE / trained["learner_cpu_s_per_update"],
    }


def _params_bytes() -> int:
    network = make_network(NetworkConfig(), NUM_ACTIONS)
    params = initial_params(network, jax.random.key(0), (84, 84, 4))
    return int(sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(params)))


class Relay:
    """Passes TCP connections on, and counts what goes each way.

    Args:
        port: Of the server, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sent = 0
        """Bytes to the server."""
        self.received = 0
        """Bytes from the server."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those there are end with their peers."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            for source, sink, to_server in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink, to_server), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        # Either peer may go at any time.
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(_CHUNK):
                if to_server:
                    self.sent += len(data)
                else:
                    self.received += len(data)
                sink.sendall(data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """The counters of one moment."""

    seconds: float
    steps: int
    updates: int
    cpu_seconds: dict[str, float]
    sent: dict[str, int]
    received: dict[str, int]
    replay_memory: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """The processes of a run, and the relays between them.

    Attributes:
        learner_process: The learner.
        pids: Process ids by role.
        relays: By "caller-server".
        replay: Address of the replay server.
        learner: Address of the learner.
        checkpoints: Where replay keeps its part of the run's checkpoints.
    """

    learner_process: subprocess.Popen[str]
    pids: dict[str, int]
    relays: dict[str, Relay]
    replay: str
    learner: str
    checkpoints: Path

    def look(self) -> Look:
        """Read all counters."""
        with contextlib.closing(LearnerClient(self.learner)) as client:
            progress = progress_from_proto(client.progress().progress)
        roles = {role: psutil.Process(pid) for role, pid in self.pids.items()}
        times = {role: process.cpu_times() for role, process in roles.items()}
        return Look(
            seconds=time.perf_counter(),
            steps=table_counts(self.replay)[STUDENT_TABLE].inserted,
            updates=progress.learner_updates,
            cpu_seconds={role: spent.user + spent.system for role, spent in times.items()},
            sent={name: relay.sent for name, relay in self.relays.items()},
            received={name: relay.received for name, relay in self.relays.items()},
            replay_memory=roles["replay"].memory_info().rss,
        )

    def play_freely(self, transitions: int, settle_seconds: float) -> Round:
        """Measure the actor until replay is filled; until then no rate limiter holds it up."""
        while table_counts(self.replay)[STUDENT_TABLE].inserted == 0:
            time.sleep(0.1)
        time.sleep(settle_seconds)
        before = self.look()
        while table_counts(self.replay)[STUDENT_TABLE].inserted < transitions:
            time.sleep(0.1)
        after = self.look()
        steps = after.steps - before.steps
        query = after.sent["actor-teacher"] - before.sent["actor-teacher"]
        answer = after.received["actor-teacher"] - before.received["actor-teacher"]

        def cpu(role: str) -> float:
            return after.cpu_seconds[role] - before.cpu_seconds[role]

        return {
            "actor_steps_per_s": steps / (after.seconds - before.seconds),
            "actor_steps_per_core_s": steps / cpu("actor"),
            "teacher_states_per_core_s": steps / cpu("teacher"),
            "replay_inserts_per_core_s": steps / cpu("replay"),
            "query_bytes": (query + answer) / steps,
            "insert_bytes": (after.sent["actor-replay"] - before.sent["actor-replay"]) / steps,
            "weights_bytes": float(self.relays["actor-learner"].received),
            "replay_memory_per_transition": (after.replay_memory - before.replay_memory) / steps,
        }

    def train(self, seconds: float, settle_seconds: float) -> Round:
        """While the learner takes what it can, one update for every few steps."""
        while self.look().updates == 0:
            time.sleep(0.2)
        time.sleep(settle_seconds)
        before = self.look()
        time.sleep(seconds)
        while (after := self.look()).updates == before.updates:
            time.sleep(0.1)
        updates = after.updates - before.updates
        sampled = after.received["learner-replay"] - before.received["learner-replay"]
        elapsed = after.seconds - before.seconds
        return {
            "learner_updates_per_s": updates / elapsed,
            "learner_cpu_s_per_update": (
                after.cpu_seconds["learner"] - before.cpu_seconds["learner"]
            )
            / updates,
            "sampled_row_bytes": sampled / (updates * BATCH_ROWS),
            "actor_steps_per_s_with_learner": (after.steps - before.steps) / elapsed,
        }

    def checkpoint(self) -> Round:
        """Stop the learner, which writes a checkpoint, and weigh replay's part of it."""
        items = table_counts(self.replay)[STUDENT_TABLE].size
        start = time.perf_counter()
        self.learner_process.terminate()
        self.learner_process.wait(120)
        took = time.perf_counter() - start
        newest = max(self.checkpoints.iterdir())
        size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
        return {"checkpoint_bytes_per_transition": size / items, "checkpoint_and_stop_s": took}


@contextlib.contextmanager
def _cluster(folder: Path, transitions: int) -> Iterator[Cluster]:
    # A Nature DQN that is taught from its first step on; checkpoints are written when they are
    # measured.
    experiment = (
        *("kickstarting", "--environment.game", "pong", "--num-actors", "1"),
        *("--method.q-learning.min-replay-size", str(transitions)),
        *("--replay-capacity", "200000", "--checkpoint-period-seconds", "100000"),
    )
    with contextlib.ExitStack() as stack:
        relays: dict[str, Relay] = {}

        def behind_relay(name: str, address: str) -> str:
            relay = stack.enter_context(contextlib.closing(Relay(parse_address(address).port)))
            relays[name] = relay
            return f"127.0.0.1:{relay.port}"

        teacher = stack.enter_context(teacher_service(CHECKPOINT, "--no-shared-memory"))
        to_teacher = behind_relay("actor-teacher", teacher.address)
        replay_role, replay = stack.enter_context(replay_service(folder / "replay", *experiment))
        to_replay = behind_relay("actor-replay", replay.data)
        learner_replay = ShardAddress(
            data=behind_relay("learner-replay", replay.data), control=replay.control
        )
        learner = stack.enter_context(learner_service(folder / "run", learner_replay, *experiment))
        addresses = (
            *("--learner-address", behind_relay("actor-learner", learner.address)),
            *("--replay-address", to_replay, "--teacher-address", to_teacher),
        )
        actor = stack.enter_context(
            running("actor", *experiment, *addresses, environment=ACTOR_ENVIRONMENT)
        )
        yield Cluster(
            learner_process=learner.process,
            pids={
                "teacher": teacher.pid,
                "replay": replay_role.process.pid,
                "learner": learner.process.pid,
                "actor": actor.process.pid,
            },
            relays=relays,
            replay=replay.data,
            learner=learner.address,
            checkpoints=folder / "replay" / "replay" / "00" / "checkpoints",
        )


if __name__ == "__main__":
    main()
