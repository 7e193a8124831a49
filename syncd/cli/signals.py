"""The one way in which signals are heeded: the first is asked for, the second is the kernel's.

After the first SIGINT or SIGTERM the process's own handlers are gone, so the next one ends it at
once; that is as safe as a kill, which may come at any moment anyhow.
"""

import signal
from collections.abc import Callable

import anyio
import anyio.abc


async def heed(
    stop: Callable[[], object],
    signals: list[int],
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    """Note the first signal, ``stop``, and listen no more."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            signals.append(number)
            stop()
            return


async def hear_hangups(
    hang_up: Callable[[], object], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Tell of every SIGHUP, also while the process stops; after that they are ignored."""
    try:
        with anyio.open_signal_receiver(signal.SIGHUP) as received:
            task_status.started()
            async for _ in received:
                hang_up()
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
