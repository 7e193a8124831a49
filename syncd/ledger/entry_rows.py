"""Entries as rows of ``syncd_fingerprint``: binary COPY in, records out.

Rows are packed by hand because the driver's generic encoder costs three times as much, and a
first load writes one per record. Column order here is the order of ``COLUMNS``.
"""

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct as Packer
from typing import Any, Final

from syncd.flow.model import PARKED, Entry, Hashes, Outcome, State
from syncd.flow.ports import Fresh
from syncd.flow.value_hash import HASH_BYTES, cut

NO_BASE: Final = bytes(HASH_BYTES)
COLUMNS: Final = (
    "key",
    "digest",
    "fingerprint",
    "source_base",
    "target_base",
    "position",
    "run_id",
    "first_run_id",
    "entity_id",
    "digest_epoch",
    "revision",
    "shape",
    "source_epoch",
    "incarnation",
    "hash_version",
    "present",
    "open",
    "unsettled",
    "state",
    "outcome",
    "reason",
)
COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"
# Asking the class costs ten times as much, twice for each entry.
_STATES: Final = {state.value: state for state in State}
_OUTCOMES: Final[Mapping[str, Outcome | None]] = {"": None, **{o.value: o for o in Outcome}}
_COUNT = len(COLUMNS).to_bytes(2, "big")
_LENGTH = Packer(">i")
_DIGEST_AND_FINGERPRINT = Packer(">iqi")
_NULL = _LENGTH.pack(-1)
_FIXED = Packer(">iqiqiqiiiiiiiiiiiiihi?i?i?")


def join_base(base: Hashes) -> bytes:
    """Column hashes as one byte string; a column without a base takes eight zero bytes."""
    return b"".join([part or NO_BASE for part in base])


def split_base(joined: bytes) -> Hashes:
    """Inverse of ``join_base``."""
    parts = cut(joined)
    if NO_BASE in parts:
        return tuple(b"" if part == NO_BASE else part for part in parts)
    return tuple(parts)


def _bytes(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _constants(entity_id: int, entry: Entry, first_run_id: int, *, unsettled: bool) -> bytes:
    """All columns from ``position`` on."""
    fixed = _FIXED.pack(
        *(8, entry.position, 8, entry.run_id, 8, first_run_id),
        *(4, entity_id, 4, entry.digest_epoch, 4, entry.revision, 4, entry.shape),
        *(4, entry.source_epoch, 4, entry.incarnation, 2, entry.hash_version),
        *(1, entry.present, 1, entry.open, 1, unsettled),
    )
    outcome = entry.outcome.value if entry.outcome else ""
    reason = _bytes(entry.reason.encode()) if entry.reason else _NULL
    return fixed + _bytes(entry.state.value.encode()) + _bytes(outcome.encode()) + reason


def _is_unsettled(entry: Entry) -> bool:
    """Whether the entry must be found without reading all of them."""
    return entry.open or (entry.present and entry.digest == 0) or entry.outcome in PARKED


def pack_entries(entity_id: int, entries: Iterable[Entry]) -> bytes:
    """Rows of ``entries``, without header and trailer."""
    rows = []
    for entry in entries:
        source, target = join_base(entry.source_base), join_base(entry.target_base)
        rows.append(
            _COUNT
            + _bytes(entry.key)
            + _DIGEST_AND_FINGERPRINT.pack(8, entry.digest, len(entry.fingerprint))
            + entry.fingerprint
            + _bytes(source)
            + (_NULL if source == target else _bytes(target))
            + _constants(entity_id, entry, entry.run_id, unsettled=_is_unsettled(entry))
        )
    return b"".join(rows)


def pack_fresh(entity_id: int, common: Entry, fresh: Fresh) -> bytes:
    """Rows of new entries that share ``common``; both bases are equal."""
    tail = _NULL + _constants(entity_id, common, common.run_id, unsettled=False)
    rows = zip(fresh.keys, fresh.digests, fresh.fingerprints, fresh.hashes, strict=True)
    parts = (fresh.keys, fresh.fingerprints, fresh.hashes)
    sizes = [{*map(len, part)} for part in parts]
    if all(len(found) == 1 for found in sizes):  # a row is packed at a stroke
        key, mark, base = (size for found in sizes for size in found)
        pack = Packer(f">hi{key}siqi{mark}si{base}s{len(tail)}s").pack
        count = len(COLUMNS)
        return b"".join([pack(count, key, k, 8, d, mark, f, base, h, tail) for k, d, f, h in rows])
    middle = _DIGEST_AND_FINGERPRINT.pack
    return b"".join(
        [
            b"".join((_COUNT, _bytes(key), middle(8, digest, len(mark)), mark, _bytes(base), tail))
            for key, digest, mark, base in rows
        ]
    )


def to_entry(
    record: Mapping[str, Any], shape: int, remaps: Mapping[int, Sequence[int | None]]
) -> Entry:
    """An entry from a record that holds ``COLUMNS``.

    ``remaps`` says, for every other shape, which old position each column of ``shape`` had.
    """
    source = split_base(record["source_base"])
    joined = record["target_base"]
    target = source if joined is None else split_base(joined)
    if record["shape"] != shape and (source or target):
        remap = remaps[record["shape"]]
        source, target = _remapped(source, remap), _remapped(target, remap)
    return Entry(
        key=record["key"],
        digest=record["digest"],
        digest_epoch=record["digest_epoch"],
        fingerprint=record["fingerprint"],
        hash_version=record["hash_version"],
        revision=record["revision"],
        shape=record["shape"],
        source_epoch=record["source_epoch"],
        position=record["position"],
        state=_STATES[record["state"]],
        present=record["present"],
        open=record["open"],
        incarnation=record["incarnation"],
        source_base=source,
        target_base=target,
        outcome=_OUTCOMES[record["outcome"] or ""],
        reason=record["reason"] or "",
        run_id=record["run_id"],
    )


def _remapped(base: Hashes, remap: Sequence[int | None]) -> Hashes:
    if not base:
        return base
    return tuple(b"" if at is None else base[at] for at in remap)
