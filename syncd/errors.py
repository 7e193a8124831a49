"""Everything that can go wrong, in five kinds.

    SyncdError
    ├── ConfigError      the configuration or an argument is wrong; nothing ran          exit 2
    ├── TransientError   the world is busy or gone; the one kind that is retried
    ├── PermanentError   a row or an entity cannot be done as things stand; parked
    │   ├── DriftError   a schema is not what was pinned; the entity stops, nothing is lost
    │   ├── SourceError  what was read proves nothing (empty, cut off, gone back); no deletes
    │   └── RowError     the target refused one row; names the SQLSTATE and the constraint
    │       └── LockedError  somebody else holds a row; the batch gives way and is halved
    ├── FencedError      another instance holds the lease; this one stops writing         exit 6
    └── InvariantError   ours: a rule of syncd was broken; the entity stops

A driver's own exceptions are translated where they arise (``syncd.pg.errors``), so nothing above
a shore ever names a driver. Messages say what, which, expected, found and what to do; they never
hold a row's value or a secret.
"""


class SyncdError(Exception):
    """Base of all of ours.

    ``retryable`` is read by ``retry.py`` alone; ``hint`` is the sentence that tells the operator
    what to do next and may be empty.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(SyncdError):
    """The configuration, an argument or the environment is wrong."""


class TransientError(SyncdError):
    """A lost connection, a deadlock, a timeout: the same call may succeed later.

    ``outcome_unknown`` is true when a commit was under way, so that the caller looks before it
    repeats.
    """

    retryable = True

    def __init__(self, message: str, *, hint: str = "", outcome_unknown: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.outcome_unknown = outcome_unknown


class PermanentError(SyncdError):
    """Repeating the call cannot help; something must be changed first."""


class DriftError(PermanentError):
    """A schema differs from the one that was pinned on ``init``."""


class SourceError(PermanentError):
    """The source cannot be read whole, so its silence about a key means nothing."""


class RowError(PermanentError):
    """The target refused a row.

    ``sqlstate`` is the five-character code; ``constraint`` and ``column`` are names from the
    catalogue or empty.
    """

    def __init__(
        self, message: str, *, sqlstate: str = "", constraint: str = "", column: str = ""
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.column = column


class LockedError(RowError):
    """Somebody else holds a row that a batch wants, or a deadlock was about to form.

    The batch is rolled back, so that nobody waits for us while we wait, and halved; a row that is
    still held when it stands alone is parked and looked at again.
    """


class FencedError(SyncdError):
    """The lease has a newer epoch, or somebody else holds it."""


class InvariantError(SyncdError):
    """A rule that syncd promises was found broken; stop and look."""
