from __future__ import annotations

import asyncio
import threading

from rrl_client.loop_thread import LoopThread


def test_what_still_runs_hears_that_it_is_cancelled_before_the_loop_closes() -> None:
    begun, cleaned_up = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    loop = LoopThread("test")
    future = loop.start(wait_for_ever())
    assert begun.wait(60.0)
    loop.close()
    assert cleaned_up.is_set() and future.cancelled()
    loop.close()
