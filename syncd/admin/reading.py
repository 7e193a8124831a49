"""From the bytes of a request to what its route takes, strictly, or to a refusal.

Whatever arrives passes ``flow/decode.py``: unknown fields, wrong types, deep nesting and bytes that
are no text are one and the same refusal, which never quotes what was sent (case 94).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, get_args, get_origin

import anyio
import msgspec
from aiohttp import web
from msgspec import Struct

from syncd.admin.problems import RefusalError
from syncd.flow.decode import DecodeError, decode

BODY_BYTES_MAX: Final = 64 * 1024
BODY_S: Final = 10.0


def query_of(request: web.BaseRequest, takes: type[Struct]) -> Any:
    """The parameters of a request. Raises RefusalError."""
    many = {
        field.encode_name for field in msgspec.structs.fields(takes)
        if _is_many(field.type)
    }  # fmt: skip
    plain: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        if len(values) > 1 and name not in many:
            raise _unfit("a parameter is given more than once")
        plain[name] = values if name in many else values[0]
    return _fitting(lambda given: msgspec.convert(given, takes, strict=False), plain, "parameters")


async def body_of(request: web.BaseRequest, takes: type[Struct]) -> Any:
    """The body of a request; an empty one is an empty object. Raises RefusalError."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body may not be compressed")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise _too_big()
    data = await _bytes(request)
    if data and request.content_type != "application/json":
        raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
    read = msgspec.json.Decoder(takes).decode
    return _fitting(read, data or b"{}", "body")


async def _bytes(request: web.BaseRequest) -> bytes:
    try:
        with anyio.fail_after(BODY_S):
            return await request.read()
    except TimeoutError:
        detail = f"the body did not come within {BODY_S:g} s"
        raise RefusalError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_big() from None
    except (web.RequestPayloadError, ValueError):
        raise _unfit("the body is cut off or malformed") from None


def _is_many(kind: Any) -> bool:
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_origin(bare) is tuple


def _fitting(read: Any, given: bytes | Mapping[str, Any], what: str) -> Any:
    try:
        return decode(read, given)
    except DecodeError as error:
        raise _unfit(f"the {what} do not fit this route ({error.code})") from None


def _unfit(why: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, f"{why}; see /api/openapi.json")


def _too_big() -> RefusalError:
    return RefusalError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {BODY_BYTES_MAX} bytes"
    )
