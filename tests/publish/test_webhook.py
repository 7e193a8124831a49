"""The webhook, against a real HTTP server: what arrives, what is tried again, what is not told."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from msgspec import Struct

from syncd.errors import PermanentError, SyncdError, TransientError
from syncd.publish.webhook import TEXT_CHARACTERS_MAX, post

SECRET = "T0001-kanarie"  # noqa: S105 - planted, to be looked for.


class Chat(Struct):
    """A chat that answers with ``statuses``, the last one for ever."""

    url: str
    statuses: list[int]
    told: list[Any] = []
    redirected: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        status = self.statuses[0] if len(self.statuses) == 1 else self.statuses.pop(0)
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=headers)

    async def elsewhere(self, _: web.Request) -> web.Response:
        self.redirected += 1
        return web.Response()


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    """A server on loopback."""
    found = Chat("", [200])
    app = web.Application()
    app.add_routes([web.post(f"/{SECRET}", found.take), web.post("/elsewhere", found.elsewhere)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    found.url = f"http://127.0.0.1:{port}/{SECRET}"
    try:
        yield found
    finally:
        await runner.cleanup()


async def test_a_message_arrives_as_it_is(chat: Chat) -> None:
    await post(chat.url, "**done** é\n", timeout_s=5)

    assert chat.told == [{"text": "**done** é\n"}]


async def test_a_message_that_is_too_long_is_cut_and_says_so(chat: Chat) -> None:
    await post(chat.url, "x" * (TEXT_CHARACTERS_MAX + 1), timeout_s=5)

    [message] = chat.told
    assert message["text"].startswith("x" * TEXT_CHARACTERS_MAX + "\n(cut")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, PermanentError),
        (400, PermanentError),
        (404, PermanentError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
async def test_an_answer_decides_whether_it_is_tried_again(
    chat: Chat, status: int, kind: type[SyncdError]
) -> None:
    chat.statuses = [status]

    with pytest.raises(kind) as caught:
        await post(chat.url, "m", timeout_s=5)

    assert SECRET not in str(caught.value)
    assert chat.redirected == 0


@pytest.mark.parametrize("url", [f"http://127.0.0.1:1/{SECRET}", f"http://[{SECRET}/"])
async def test_nobody_who_answers_is_told_without_the_address(url: str) -> None:
    with pytest.raises(SyncdError) as caught:
        await post(url, "m", timeout_s=5)

    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
