"""Clients of AWS. Credentials, region and endpoints are found as by every AWS tool.

The library's own repetitions are off: ``syncd.retry`` is the one place that repeats, and a call
that was repeated unseen would be counted as one.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

Service = Literal["sns", "sqs"]
_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 20.0  # longer than any answer of theirs that is still meant
_CONNECTIONS_MAX: Final = 10  # the library's own default


def open_client(
    service: Service, *, region: str | None, endpoint_url: str | None
) -> AbstractAsyncContextManager[Any]:
    """A client, for ``async with``; enter it inside ``syncd.cloud.errors.translate``.

    Without ``region`` or ``endpoint_url`` the environment says it (``AWS_REGION``,
    ``AWS_ENDPOINT_URL``).
    """
    config = AioConfig(
        connect_timeout=_CONNECT_S,
        read_timeout=_ANSWER_S,
        max_pool_connections=_CONNECTIONS_MAX,
        retries={"total_max_attempts": 1},  # "max_attempts": 1 would still repeat once
    )
    client: AbstractAsyncContextManager[Any] = get_session().create_client(
        service, region_name=region, endpoint_url=endpoint_url, config=config
    )
    return client
