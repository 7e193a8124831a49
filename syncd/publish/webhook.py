"""A message for the chat where the team meets, through a webhook that takes ``{"text": ...}``.

The address is a secret: whoever knows it may write there. So it stands in no message and no log,
it is asked for once, redirects are not followed, and proxies of the environment are not used.
"""

from typing import Final

import aiohttp

from syncd.errors import PermanentError, TransientError

TEXT_CHARACTERS_MAX: Final = 30_000  # the usual limit of such services is 40,000
_CUT: Final = "\n(cut: `syncd report` has all of it)\n"
_TAKEN: Final = range(200, 300)
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_HINT: Final = "look at report.webhook: it is a secret and is not shown"


async def post(url: str, text: str, *, timeout_s: float) -> None:
    """Send the message once.

    Raises TransientError when nobody answers or the answer says to try again, PermanentError when
    it is refused. A message whose answer was lost may have arrived.
    """
    fits = text if len(text) <= TEXT_CHARACTERS_MAX else text[:TEXT_CHARACTERS_MAX] + _CUT
    limit = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(url, json={"text": fits}, allow_redirects=False) as answer,
        ):
            status = answer.status
    except aiohttp.InvalidURL:
        raise PermanentError("the webhook's address is no URL", hint=_HINT) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # Its text would name the address.
        raise TransientError(f"the webhook did not answer ({type(error).__name__})") from None
    if status in _PASSING:
        raise TransientError(f"the webhook answered {status}")
    if status not in _TAKEN:
        raise PermanentError(f"the webhook answered {status}, expected 200", hint=_HINT)
