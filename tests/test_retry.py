"""The retry: one kind of error is repeated, and never for ever."""

from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace

import anyio
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

import syncd.retry
from syncd import errors
from syncd.errors import SyncdError, TransientError
from syncd.retry import with_backoff

PLENTY_S = 1e9


class Clock:
    """Time that passes only in pauses, and by hand. No test waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.now_s

    async def sleep(self, pause_s: float) -> None:
        """Let time pass."""
        self.pauses.append(pause_s)
        self.now_s += pause_s
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the retry goes by."""
    made = Clock()
    monkeypatch.setattr(tenacity, "time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr(syncd.retry, "anyio", SimpleNamespace(sleep=made.sleep))
    return made


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause is as long as chance allows."""
    monkeypatch.setattr("random.uniform", lambda _least, most: most)


class Call:
    """A call that raises what it is given, one after the other, and then answers."""

    def __init__(self, *raised: BaseException) -> None:
        self.raised = iter(raised)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        error = next(self.raised, None)
        if error is not None:
            raise error
        return "done"


def busy(times: int) -> list[TransientError]:
    """As many errors of a busy server, each told apart."""
    return [TransientError(f"busy {n}") for n in range(1, times + 1)]


async def test_a_call_that_succeeds_is_made_once_and_without_a_pause(clock: Clock) -> None:
    """Its result is handed on."""
    call = Call()
    assert await with_backoff(5, PLENTY_S)(call) == "done"
    assert (call.calls, clock.pauses) == (1, [])


async def test_a_transient_error_is_repeated_until_the_call_succeeds(clock: Clock) -> None:
    """One pause before each repeat."""
    call = Call(*busy(3))
    assert await with_backoff(5, PLENTY_S)(call) == "done"
    assert (call.calls, len(clock.pauses)) == (4, 3)


def every_error() -> Iterator[type[SyncdError]]:
    """All kinds of error of ours, the base included."""
    found = [SyncdError]
    while found:
        kind = found.pop()
        found.extend(kind.__subclasses__())
        if kind.__module__ == errors.__name__:
            yield kind


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("kind", sorted(every_error(), key=str))
async def test_of_our_errors_only_the_retryable_is_repeated(kind: type[SyncdError]) -> None:
    """Repeating any other cannot help, or must not be (case 13)."""
    call = Call(kind("first"))
    if kind.retryable:
        assert await with_backoff(5, PLENTY_S)(call) == "done"
        return
    with pytest.raises(kind, match="first"):
        await with_backoff(5, PLENTY_S)(call)
    assert call.calls == 1


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        OSError("a driver's, untranslated"),
        ExceptionGroup("several", [TransientError("one of them")]),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_no_error_of_ours_is_never_repeated(error: BaseException) -> None:
    """It comes out as it is, at once."""
    call = Call(error)
    with pytest.raises(type(error)) as info:
        await with_backoff(5, PLENTY_S)(call)
    assert info.value is error
    assert call.calls == 1


@pytest.mark.usefixtures("clock")
async def test_an_error_after_a_transient_one_ends_the_repeating() -> None:
    """What the second call found is what is told."""
    call = Call(TransientError("busy"), ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        await with_backoff(5, PLENTY_S)(call)
    assert call.calls == 2


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_it_is_repeated_as_often_as_was_said_and_no_more(retries: int) -> None:
    """Then the last error comes out, not one of retrying (I14)."""
    last = busy(retries + 1)[-1]
    call = Call(*busy(retries), last)
    with pytest.raises(TransientError) as info:
        await with_backoff(retries, PLENTY_S)(call)
    assert info.value is last
    assert call.calls == retries + 1


@pytest.mark.usefixtures("longest")
async def test_pauses_double_up_to_the_longest(clock: Clock) -> None:
    """The longest that chance allows before each repeat."""
    with pytest.raises(TransientError):
        await with_backoff(7, PLENTY_S, first_s=0.1, most_s=1.5)(Call(*busy(8)))
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.5, 1.5, 1.5])


async def test_pauses_are_spread_over_all_that_is_allowed(clock: Clock) -> None:
    """Full jitter: two that failed together do not come back together (case 13)."""
    for _ in range(100):
        await with_backoff(1, PLENTY_S, first_s=8)(Call(*busy(1)))
    assert len(set(clock.pauses)) > 90
    assert 0 <= min(clock.pauses) < 2
    assert 6 < max(clock.pauses) <= 8


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize(
    ("budget_s", "calls"),
    [(0.5, 1), (1.0, 1), (1.1, 2), (3.0, 2), (3.1, 3), (7.1, 4)],
)
async def test_no_pause_goes_beyond_the_budget(clock: Clock, budget_s: float, calls: int) -> None:
    """Pauses of 1, 2 and 4 seconds: the one that would end too late is not begun (I14)."""
    call = Call(*busy(10))
    with pytest.raises(TransientError, match=f"busy {calls}$"):
        await with_backoff(9, budget_s, first_s=1)(call)
    assert call.calls == calls
    assert clock.now_s < budget_s


@pytest.mark.usefixtures("longest")
async def test_the_time_of_the_calls_counts_too(clock: Clock) -> None:
    """A call that took the whole budget to fail is not repeated."""

    async def slow() -> str:
        clock.now_s += 60
        raise TransientError("timeout")

    with pytest.raises(TransientError):
        await with_backoff(9, 100, first_s=1)(slow)
    assert clock.pauses == [1.0]


@pytest.mark.usefixtures("longest")
async def test_each_call_has_a_budget_of_its_own(clock: Clock) -> None:
    """What one spent is nothing to the next."""
    retry = with_backoff(1, 5, first_s=4)
    for _ in range(3):
        assert await retry(Call(*busy(1))) == "done"
    assert clock.pauses == [4, 4, 4]


@given(st.integers(0, 6), st.integers(0, 9))
async def test_without_pauses_it_only_counts(retries: int, failures: int) -> None:
    """It succeeds exactly where there are no more failures than repeats."""
    call: Call = Call(*busy(failures))
    retry: Callable[[Callable[[], Awaitable[str]]], Awaitable[str]]
    retry = with_backoff(retries, PLENTY_S, first_s=0)
    if failures <= retries:
        assert await retry(call) == "done"
    else:
        with pytest.raises(TransientError):
            await retry(call)
    assert call.calls == min(failures, retries) + 1
