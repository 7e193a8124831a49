"""Ledger statements with their schema.

The tables are named bare where the SQL stands, and get the configured schema here, so nothing
depends on a ``search_path``: a proxy that deals sessions out per transaction may not keep one
(case 18), and triggers of the target must find the names of their own application.
"""

import re
from functools import lru_cache
from typing import Final

from syncd.pg.dialect import ident

TABLES: Final = (
    "setting",
    "lease",
    "entity",
    "shape",
    "fingerprint",
    "run",
    "run_entity",
    "work_unit",
    "finding",
    "import_record",
    "conflict",
    "held_delete",
    "outbox",
    "migration",
    "claim",
    "pause",
    "audit",
    "audit_guard",  # the function of its trigger
)
_BARE: Final = re.compile(rf"(?<![\w.\"])syncd_({'|'.join(TABLES)})\b")


@lru_cache(maxsize=256)
def in_schema(schema: str, statement: str) -> str:
    """``statement`` with every name of ``TABLES`` qualified by ``schema``."""
    return _BARE.sub(rf"{ident(schema)}.syncd_\1", statement)
