"""What the AWS library raises, as one of ours; the only file that reads its codes.

Their texts are never passed on: a message may quote what was sent, and a URL may name a tenant. A
message of ours is made of the code and the HTTP status (case 96).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore import exceptions as library
from botocore.parsers import ResponseParserError

from syncd.errors import ConfigError, InvariantError, PermanentError, SyncdError, TransientError

# SQS says RequestThrottled with status 403, others say theirs with 400.
_BUSY: Final = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"),
        *("RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded"),
        *("KMSThrottling", "KMSThrottlingException", "KmsThrottled", "BandwidthLimitExceeded"),
        *("SlowDown", "LimitExceededException", "RequestTimeout", "PriorRequestNotComplete"),
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired"),  # fetched anew by then
    }
)
_ABSENT: Final = frozenset(
    {
        *("NotFound", "NotFoundException", "ResourceNotFoundException", "QueueDoesNotExist"),
        *("AWS.SimpleQueueService.NonExistentQueue", "NonExistentQueue"),
    }
)
_OURS: Final = (library.ParamValidationError, library.UnknownServiceError)
_MISSING: Final = (
    library.NoCredentialsError,
    library.PartialCredentialsError,
    library.NoRegionError,
    library.ProfileNotFound,
    library.ConfigParseError,
    library.SSLError,
)
_DENIED: Final = (401, 403)
_BROKEN_MIN: Final = 500
_BUSY_STATUS: Final = 429
_CODE_CHARS_MAX: Final = 80


@contextmanager
def translate(doing: str) -> Iterator[None]:
    """Turn what the library raises inside the ``with`` into one of ours.

    ``doing`` says what was tried ("sending events"); it must not hold a value.
    """
    try:
        yield
    except library.ClientError as error:
        raise _from_answer(error, doing) from None
    except library.BotoCoreError as error:
        raise _from_library(error, doing) from None
    except ResponseParserError:  # a proxy on the way may answer anything, mostly that it is broken
        raise TransientError(
            f"{doing}: the answer cannot be read", hint="it is tried again"
        ) from None
    except (OSError, EOFError) as error:
        raise TransientError(f"{doing}: {type(error).__name__}") from None


class AbsentError(ConfigError):
    """There is no such topic, queue, secret or version of one."""


def is_busy(code: str) -> bool:
    """Whether an error's code means that the same may succeed later."""
    return code in _BUSY


def clean(code: object) -> str:
    """A code, cut and printable: a proxy may answer anything."""
    found = str(code)[:_CODE_CHARS_MAX]
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "?" for c in found)


def _from_answer(error: library.ClientError, doing: str) -> SyncdError:
    answer: Any = error.response
    code = clean(answer.get("Error", {}).get("Code", "no code"))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{doing}: AWS said {code} ({status})"
    if is_busy(code) or status >= _BROKEN_MIN or status == _BUSY_STATUS:
        return TransientError(said, hint="it is tried again")
    if code in _ABSENT:
        return AbsentError(said, hint="check its name, the account and the region")
    if status in _DENIED or "AccessDenied" in code or "Unauthorized" in code:
        return ConfigError(said, hint="check the credentials, and what their role may do")
    return PermanentError(said)


def _from_library(error: library.BotoCoreError, doing: str) -> SyncdError:
    name = type(error).__name__
    if isinstance(error, _OURS):
        return InvariantError(f"{doing}: the AWS library was used wrongly ({name})")
    if isinstance(error, _MISSING):
        hint = "check AWS_REGION, the credentials and the certificates of this process"
        return ConfigError(f"{doing}: AWS cannot be called ({name})", hint=hint)
    return TransientError(f"{doing}: AWS could not be reached ({name})")
