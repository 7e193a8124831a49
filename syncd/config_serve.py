"""The settings of ``syncd serve``: what belongs to the process and to none of its pipelines.

They stand in a file of their own (``--service``), read by the same strict machinery.
"""

from typing import Annotated

from msgspec import Meta

from syncd.config import Config, Strict


class Service(Strict, frozen=True):
    """The process. All of it has a default, so the file may be left out."""

    # Less than the 30 s that Kubernetes gives by default, and enough for the longest statement.
    grace_s: Annotated[float, Meta(ge=0.5, le=3600)] = 25.0
    poll_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0  # between two looks for work
    backoff_s_max: Annotated[float, Meta(ge=0.1, le=3600)] = 60.0  # before a broken one tries again


class Settings(Strict, frozen=True):
    """All that a daemon was given: its own settings and its pipelines, read together."""

    service: Service
    pipelines: tuple[Config, ...]
