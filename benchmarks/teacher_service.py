"""What the teacher service costs: its throughput and latency against the bare jitted forward.

The service runs as a process of its own, as in use; the bare forward runs in this process while the
service is idle, in batches of the service's largest compiled size. Bare and service take turns, so
that a slower minute of the machine meets both. On a CPU, clients and service share the cores: the
ratio holds the cost of both ends.

Ratios (higher is better):
    service_8x32_over_bare      states/s of 8 clients asking 32 states each, over the bare forward
    service_64x1_over_bare      states/s of 64 queries of 1 state kept in flight by 8 clients, over
                                the bare forward
    bare_over_service_latency   bare forward of 1 state (p50), over one client asking 1 state (p50)

    python benchmarks/teacher_service.py --quick --json
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from services.teacher.client import TeacherClient
from services.teacher.config import DEFAULT_BUCKETS, TeacherConfig
from services.teacher.policy import Policy, load_policy

CHECKPOINT = "pong_dqn"
CLIENTS = 8
LARGEST = max(DEFAULT_BUCKETS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="under a minute, noisier")
    parser.add_argument("--json", action="store_true", help="end with one JSON object of ratios")
    flags = parser.parse_args()
    repeats, seconds = (3, 2.0) if flags.quick else (7, 5.0)
    policy = load_policy(TeacherConfig(checkpoint=CHECKPOINT))
    states = np.random.default_rng(0).integers(0, 256, (LARGEST, 84, 84, 4), np.uint8)
    with _service() as address:
        rounds = [_one_round(policy, address, states, seconds) for _ in range(repeats)]
    for name in rounds[0]:
        values = [measured[name] for measured in rounds]
        print(f"{name:<28} {statistics.median(values):10.3f}   {np.round(values, 3).tolist()}")
    ratios = {name: _ratio(rounds, *parts) for name, parts in RATIOS.items()}
    for name, ratio in ratios.items():
        print(f"{name:<28} {ratio:10.3f}")
    if flags.json:
        print(json.dumps(ratios))


RATIOS = {
    "service_8x32_over_bare": ("service_8x32_states_per_s", "bare_states_per_s"),
    "service_64x1_over_bare": ("service_64x1_states_per_s", "bare_states_per_s"),
    "bare_over_service_latency": ("bare_1_p50_ms", "service_1x1_p50_ms"),
}


def _ratio(rounds: list[dict[str, float]], over: str, under: str) -> float:
    """Median over the rounds: numbers of the same round met the same machine."""
    return round(statistics.median(measured[over] / measured[under] for measured in rounds), 4)


def _one_round(
    policy: Policy, address: str, states: NDArray[np.uint8], seconds: float
) -> dict[str, float]:
    bare = _call_seconds(lambda: policy.evaluate(states), seconds)
    eight = _load(address, states[:32], in_flight=1, seconds=seconds)
    single = _call_seconds(lambda: policy.evaluate(states[:1]), seconds / 2)
    sixty_four = _load(address, states[:1], in_flight=8, seconds=seconds)
    with TeacherClient(address) as client:
        one = _call_seconds(lambda: client.evaluate(states[:1]), seconds / 2)
    return {
        "bare_states_per_s": len(states) * len(bare) / sum(bare),
        "service_8x32_states_per_s": eight,
        "service_64x1_states_per_s": sixty_four,
        "bare_1_p50_ms": 1e3 * statistics.median(single),
        "service_1x1_p50_ms": 1e3 * statistics.median(one),
    }


def _call_seconds(call: Callable[[], object], seconds: float) -> list[float]:
    """Durations of calls, one after the other, for about `seconds`; the first is not counted."""
    call()
    durations: list[float] = []
    while sum(durations) < seconds:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return durations


def _load(address: str, states: NDArray[np.uint8], *, in_flight: int, seconds: float) -> float:
    """States per second of `CLIENTS` clients, each with `in_flight` queries under way at all times.

    Every answer is followed by the next query at once, as a pipelining actor does it.
    """
    answered = [0] * CLIENTS
    failures: list[Exception] = []
    stop = threading.Event()

    def ask(index: int) -> None:
        try:
            with TeacherClient(address) as client:
                waiting = collections.deque(
                    client.evaluate_future(states) for _ in range(in_flight)
                )
                while not stop.is_set():
                    waiting.popleft().result()
                    answered[index] += len(states)
                    waiting.append(client.evaluate_future(states))
                for future in waiting:
                    future.result()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 4)
    start, before = time.perf_counter(), sum(answered)
    time.sleep(seconds)
    rate = (sum(answered) - before) / (time.perf_counter() - start)
    stop.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return rate


@contextlib.contextmanager
def _service() -> Iterator[str]:
    flags = ("--checkpoint", CHECKPOINT, "--port", "0", "--metrics-port", "None")
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", "teacher", "serve", *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = re.search(r"ready at (\S+):\s", process.stdout.readline())
        if ready is None:
            raise RuntimeError("the teacher service did not start; its log is above")
        yield ready[1]
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
