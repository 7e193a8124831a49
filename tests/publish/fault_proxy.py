"""Stands before the cloud and does what the real one does at times: throttles, refuses entries,
loses answers. Each fault is one function from a call to an answer.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from msgspec import Struct

from tests.cloud import Cloud


class Asked(Struct):
    """A call that came in. ``pass_on`` lets the cloud answer it."""

    number: int  # of those that send, from 1
    body: str
    pass_on: Callable[[], Awaitable[web.Response]]

    @property
    def entries(self) -> list[str]:
        """Ids of the entries of a call that sends to a queue."""
        return [entry["Id"] for entry in json.loads(self.body)["Entries"]]


Fault: TypeAlias = Callable[[Asked], Awaitable[web.StreamResponse]]


async def none(asked: Asked) -> web.StreamResponse:
    """The cloud answers."""
    return await asked.pass_on()


async def throttled(asked: Asked) -> web.StreamResponse:
    """The first three calls are too many."""
    if asked.number <= 3:
        return refused(403, "RequestThrottled")
    return await asked.pass_on()


async def broken(asked: Asked) -> web.StreamResponse:
    """Nothing works."""
    del asked
    return refused(503, "ServiceUnavailable")


async def lost(asked: Asked) -> web.StreamResponse:
    """Every other call is carried out, and its answer is lost."""
    answer = await asked.pass_on()
    if asked.number % 2:
        raise ConnectionResetError
    return answer


async def partly(asked: Asked) -> web.StreamResponse:
    """Entries of the first two calls: the first is refused for now, the second is not heard of."""
    if asked.number > 2:
        return await asked.pass_on()
    answer = json.loads((await asked.pass_on()).text or "")
    taken = [entry for entry in answer["Successful"] if entry["Id"] not in asked.entries[:2]]
    failed = {"Id": asked.entries[0], "Code": "InternalError", "SenderFault": False}
    return web.json_response({"Successful": taken, "Failed": [failed]})


def refused(status: int, code: str) -> web.Response:
    """An error as SQS tells it."""
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": "not now"}
    return web.json_response(body, status=status, headers={"x-amzn-query-error": f"{code};Sender"})


class Proxy:
    """A running proxy. ``fault`` may be changed while it runs."""

    def __init__(self, cloud: Cloud) -> None:
        self.fault: Fault = none
        self.calls: list[int] = []  # entries of each call that sends
        self.url = ""
        self._cloud = cloud
        self._session: aiohttp.ClientSession | None = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        assert self._session is not None
        session = self._session

        async def pass_on() -> web.Response:
            url, headers = f"{self._cloud.url}{request.path_qs}", dict(request.headers)
            async with session.request(request.method, url, data=body, headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type=answer.content_type
                )

        if not _sends(request, body):
            return await pass_on()
        self.calls.append(_entries(body))
        return await self.fault(Asked(len(self.calls), body, pass_on))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listens on loopback as long as the block lasts."""
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as self._session:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
        finally:
            await runner.cleanup()


def _sends(request: web.Request, body: str) -> bool:
    target = request.headers.get("X-Amz-Target", "")
    return target.endswith("SendMessageBatch") or "Action=PublishBatch" in body


def _entries(body: str) -> int:
    if body.startswith("{"):
        found: list[Any] = json.loads(body)["Entries"]
        return len(found)
    return sum(name.endswith(".Message") for name in parse_qs(body))
