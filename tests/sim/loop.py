"""An event loop without an outside: the clock is a number and chance is a seed.

What is ready runs in an order drawn from the seed; when nothing is ready the clock jumps to the
next timer. There is no selector, no thread and no signal, so one seed gives one order of events.
anyio and asyncio run on it as they are: they only ever see an event loop.

Every callback belongs to the *process* whose context it was made in. A process can be paused:
what is its own is set aside, timers too, until it is resumed, as with SIGSTOP and SIGCONT.
"""

import asyncio
import heapq
from collections.abc import Coroutine
from contextvars import Context, ContextVar, Token
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A callback takes this long, so that the clock moves on even while something spins.
CALLBACK_S: Final = 1e-6
CALLBACKS_MAX: Final = 2_000_000


class StuckError(Exception):
    """The run does not get on: nothing is ready and no timer is set, or it never ends."""


class Process:
    """What one operating system process would be. ``is_dead``: nothing it does counts any more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_paused = False
        self.set_aside: list[Any] = []

    def __repr__(self) -> str:
        return self.name


PROCESS: Final[ContextVar[Process | None]] = ContextVar("PROCESS", default=None)


def enter(process: Process) -> Token[Process | None]:
    """Make what the running task starts from now on belong to ``process``."""
    return PROCESS.set(process)


class SimLoop(asyncio.BaseEventLoop):
    """One simulation's loop."""

    def __init__(self, seed: int | str) -> None:
        super().__init__()
        self._now_s = 0.0
        self._chance = Random(seed).random  # noqa: S311 - it must repeat
        self._ready: list[Any] = []
        self._cancelling: list[Any] = []
        self._scheduled: list[Any] = []
        self._paused: dict[Process, None] = {}
        self.callbacks = 0
        self.errors: list[str] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now_s

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run ``main`` to its end, with the loop; the loop is closed afterwards.

        Raises StuckError when it does not end, naming the tasks that are left.
        """
        try:
            return self.run_until_complete(main)
        finally:
            self._end_what_is_left()
            self.close()

    def pause(self, process: Process) -> None:
        """Stop a process where it stands."""
        process.is_paused = True
        self._paused[process] = None

    def resume(self, process: Process) -> None:
        """Let it go on."""
        if self._paused.pop(process, self) is None:
            process.is_paused = False
            self._ready += process.set_aside
            process.set_aside = []

    def _run_once(self) -> None:
        """Run one callback, any of those that are ready."""
        ready, scheduled = self._ready, self._scheduled
        if self._cancelling:
            due, self._cancelling = self._cancelling, []
            for handle in due:
                self._take(handle)
        while scheduled and (scheduled[0]._when <= self._now_s or not ready):
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._now_s = max(self._now_s, timer._when)
                ready.append(timer)
        if not ready and not self._cancelling:
            raise StuckError(f"nothing is ready and no timer is set: {self._tasks()}")
        if ready:
            at = int(self._chance() * len(ready))
            ready[at], ready[-1] = ready[-1], ready[at]
            self._take(ready.pop())

    def _take(self, handle: asyncio.Handle) -> None:
        """Run a callback, or set it aside."""
        if handle._cancelled:
            return
        if self._paused:
            process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            if process is not None and process.is_paused:
                process.set_aside.append(handle)
                return
        self.callbacks += 1
        if self.callbacks > CALLBACKS_MAX:
            raise StuckError(f"it does not end: {self._tasks()}")
        self._now_s += CALLBACK_S
        handle._run()

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        """As ever; but what delivers a cancellation goes first.

        asyncio runs what is ready in the order in which it became so, and anyio counts on that
        here: a task that was cancelled takes no other step before it hears of it.
        """
        handle = asyncio.Handle(callback, args, self, context)
        is_cancelling = getattr(callback, "__name__", "") == "_deliver_cancellation"
        (self._cancelling if is_cancelling else self._ready).append(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is left out when its time has come."""

    def _write_to_self(self) -> None:
        raise StuckError("something called in from a thread")

    def _process_events(self, event_list: object) -> None:
        raise NotImplementedError

    def _tasks(self) -> str:
        """The tasks that are left, in the order of their names."""
        left = sorted(asyncio.all_tasks(self), key=_number)
        return "; ".join(_told(task) for task in left) or "no task"

    def _note(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(f"{context['message']}: {type(error).__name__}")

    def _end_what_is_left(self) -> None:
        """Cancel every task that is left and let it unwind; the clock goes on."""
        for process in list(self._paused):
            self.resume(process)
        left = sorted(asyncio.all_tasks(self), key=_number)
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())


def _number(task: "asyncio.Task[Any]") -> tuple[int, str]:
    name = task.get_name()
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else -1, name)


def _told(task: "asyncio.Task[Any]") -> str:
    coroutine = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    place = f" at line {frame.f_lineno}" if frame else ""
    return f"{task.get_name()} {getattr(coroutine, '__qualname__', '?')}{place}"
