"""The one door for structured text from outside: a value, or one error that says why there is none.

``MsgspecError`` alone is not enough (case 94). Bytes that are no UTF-8 raise UnicodeDecodeError,
deep nesting raises RecursionError, a number that is too long OverflowError or ValueError, and a
hook raises what it likes: ``Decimal`` an ArithmeticError of its own.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

CHARSET: Final = "charset"
TOO_DEEP: Final = "too_deep"
MALFORMED: Final = "malformed"

_T = TypeVar("_T")
_D = TypeVar("_D")


class DecodeError(ValueError):
    """What was read is no such value. ``code`` is CHARSET, TOO_DEEP or MALFORMED.

    What the decoder said is its cause, and may quote the input: it is never shown.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def decode(read: Callable[[_D], _T], data: _D) -> _T:
    """What ``read`` makes of ``data``. Raises DecodeError, and nothing else that data can cause."""
    try:
        return read(data)
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error
    except UnicodeError as error:
        raise DecodeError(CHARSET) from error
    except (msgspec.MsgspecError, ValueError, ArithmeticError, MemoryError) as error:
        raise DecodeError(MALFORMED) from error
