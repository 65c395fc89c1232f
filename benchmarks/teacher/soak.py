"""Whether the service's memory is stable: resident memory after each tenth of 100,000 requests.

The requests carry one state each and use one transport after the other, each with its own
service. For every tenth new clients connect, and memory is read after they have left, so that
leaks from connections count, too.

Ratios (lower is better): <transport>_last_over_first, of resident memory after the last tenth over
that after the first.

    python -m benchmarks.teacher.soak --quick --json
"""

from __future__ import annotations

import asyncio
import contextlib

from benchmarks.harness import parse_flags, print_ratios
from benchmarks.teacher.closed_loop import load_process
from benchmarks.teacher.load import random_states, run_in_uvloop
from benchmarks.teacher.service import CHECKPOINT, teacher_service
from benchmarks.teacher.usage import resident_bytes
from rrl_client import AsyncTeacherClient

TRANSPORTS = {"stream": False, "same_host": True}
"""Whether observations lie in shared memory."""

PARTS = 10

_CLIENTS = 64


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    requests = flags.pick(full=100_000, quick=20_000, smallest=640)
    everywhere = tuple(TRANSPORTS)
    transports = flags.pick(full=everywhere, quick=everywhere, smallest=everywhere[:1])
    ratios = {
        f"{transport}_last_over_first": _soak(transport, requests) for transport in transports
    }
    print_ratios(ratios, flags)


def run_requests(address: str, transport: str, requests: int) -> None:
    """Ask `requests` queries of one state, by clients that are made for it, in this process.

    Raises:
        TeacherError: A query failed.
    """
    run_in_uvloop(_ask(address, transport, requests))


async def _ask(address: str, transport: str, requests: int) -> None:
    states = random_states(_CLIENTS, 1)
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncTeacherClient(address, shared_memory=TRANSPORTS[transport])
            )
            for _ in range(_CLIENTS)
        ]
        left = iter(range(requests))

        async def ask(index: int) -> None:
            # One iterator for all: each takes the next request as soon as it is answered.
            for _ in left:
                await clients[index].evaluate(states[index])

        await asyncio.gather(*(ask(index) for index in range(_CLIENTS)))


def _soak(transport: str, requests: int) -> float:
    """Print memory after each part; that after the last over that after the first."""
    resident: list[float] = []
    with teacher_service(CHECKPOINT) as service, load_process() as process:
        print(f"{transport}: {resident_bytes(service.pid) / 2**20:.1f} MiB when ready")
        for part in range(1, PARTS + 1):
            job = process.submit(run_requests, service.address, transport, requests // PARTS)
            job.result()
            resident.append(resident_bytes(service.pid) / 2**20)
            print(f"{transport}: {resident[-1]:.1f} MiB after {part * requests // PARTS} requests")
    print(f"{transport}: {resident[-1] - resident[0]:+.1f} MiB from the first tenth to the last")
    return resident[-1] / resident[0]


if __name__ == "__main__":
    main()
