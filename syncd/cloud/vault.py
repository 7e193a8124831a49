"""AWS Secrets Manager. Read without a loop: at load there is none, and later a thread waits.

A rotation keeps two passwords in hand, and for a moment three: ``AWSCURRENT`` is the one that
should be right, ``AWSPREVIOUS`` was until now, and ``AWSPENDING`` is about to be.
"""

import json
import threading
from typing import Any, Final, Literal

import botocore.session
from botocore.config import Config

from syncd.cloud.errors import AbsentError, translate
from syncd.errors import PermanentError

Stage = Literal["AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"]
_CONNECT_S: Final = 3.0
_ANSWER_S: Final = 5.0


class Vault:
    """The secrets that this process may read, from any thread."""

    def __init__(self) -> None:
        self._client: Any = None
        self._making = threading.Lock()

    def read(self, name: str, field: str, stage: Stage) -> str | None:
        """A secret, or one field of it where it is a JSON object; None where it has no such stage.

        Raises TransientError when it cannot be read now, ConfigError or PermanentError when it
        cannot be read at all. No message holds a value.
        """
        try:
            with translate("reading a secret"):
                answer = self._asked().get_secret_value(SecretId=name, VersionStage=stage)
        except AbsentError:
            if stage == "AWSCURRENT":
                raise
            return None
        whole = answer.get("SecretString")
        if whole is None:
            whole = _text(answer.get("SecretBinary", b""))
        return _field(whole, field) if field else whole

    def _asked(self) -> Any:
        with self._making:
            if self._client is None:
                config = Config(
                    connect_timeout=_CONNECT_S,
                    read_timeout=_ANSWER_S,
                    retries={"total_max_attempts": 1},  # as for all clients of AWS
                )
                session = botocore.session.get_session()
                self._client = session.create_client("secretsmanager", config=config)
            return self._client


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PermanentError("reading a secret: expected UTF-8, found other bytes") from None


def _field(whole: str, field: str) -> str:
    try:
        found = json.loads(whole)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise PermanentError("reading a secret: expected a JSON object, found other text")
    value = found.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PermanentError("reading a secret: expected text in its field, found none")
    return str(value)
