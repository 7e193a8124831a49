-- The ledger: what syncd remembers. Lives in its own schema beside the target's tables, so that a
-- row, its memory and its history commit together. Values are never stored here, only hashes.
-- "pre" halves are applied before the code that needs them, "post" halves after the last process
-- of the older version has gone; both may be repeated.

CREATE TABLE syncd_setting (
    name text PRIMARY KEY,
    value bytea NOT NULL
);

-- One writer per pipeline. The epoch grows with every takeover and is checked in every
-- transaction with FOR KEY SHARE: a heartbeat does not wait for that lock, a takeover does,
-- because only it changes a column of a unique key.
CREATE TABLE syncd_lease (
    pipeline text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    UNIQUE (pipeline, epoch)
);

CREATE TABLE syncd_entity (
    entity_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    name text NOT NULL,
    target text NOT NULL,                   -- the table that the entries speak of
    pinned json NOT NULL,                   -- columns and types as agreed on init, in order
    source_epoch integer NOT NULL DEFAULT 1, -- grows when an operator accepts a rewind
    position bigint NOT NULL DEFAULT 0,     -- highest source position applied
    identity text NOT NULL DEFAULT '',      -- of the last content applied without a remainder
    identity_rows bigint NOT NULL DEFAULT 0,
    last_rows bigint NOT NULL DEFAULT 0,
    last_status text NOT NULL DEFAULT '',
    last_success timestamptz,
    drift text NOT NULL DEFAULT '',
    UNIQUE (pipeline, name)
);

-- A list of drafted columns, so that the bases of an entry can be read after the list changed.
CREATE TABLE syncd_shape (
    shape integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_id integer NOT NULL REFERENCES syncd_entity,
    columns text[] NOT NULL,
    UNIQUE (entity_id, columns)
);

-- One row per record: the entry. Fixed-width columns first, so that a row packs tightly.
CREATE TABLE syncd_fingerprint (
    digest bigint NOT NULL,                 -- 0 unknown
    position bigint NOT NULL,
    run_id bigint NOT NULL,                 -- the run that gave the outcome
    first_run_id bigint NOT NULL,
    entity_id integer NOT NULL,
    digest_epoch integer NOT NULL,
    revision integer NOT NULL,
    shape integer NOT NULL,
    source_epoch integer NOT NULL,
    incarnation integer NOT NULL,
    hash_version smallint NOT NULL,
    present boolean NOT NULL,               -- at the source, when last looked at
    open boolean NOT NULL,                  -- look again in every sweep
    unsettled boolean NOT NULL,             -- open, of unknown digest, or parked
    state text NOT NULL,
    outcome text NOT NULL,
    key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    source_base bytea NOT NULL,
    target_base bytea,                      -- NULL: the same as source_base
    reason text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- A survey reads all of these and nothing else, so it never visits the wide rows.
    PRIMARY KEY (entity_id, key) INCLUDE (digest, digest_epoch, open, present)
) WITH (fillfactor = 90);

-- The few that need attention.
CREATE INDEX syncd_fingerprint_unsettled ON syncd_fingerprint (entity_id) WHERE unsettled;
-- Tombstones, for retention.
CREATE INDEX syncd_fingerprint_gone ON syncd_fingerprint (changed_at) WHERE state = 'src_deleted';

CREATE TABLE syncd_run (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    status text NOT NULL,                   -- running | completed | parked | held | failed | stopped
    attempts integer NOT NULL DEFAULT 1,
    epoch bigint NOT NULL,
    holder text NOT NULL,
    selected text[],                        -- NULL: every entity
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX syncd_run_pipeline ON syncd_run (pipeline, run_id);

CREATE TABLE syncd_run_entity (
    run_id bigint NOT NULL REFERENCES syncd_run ON DELETE CASCADE,
    entity_id integer NOT NULL,
    status text NOT NULL,
    counts jsonb NOT NULL,
    seconds double precision NOT NULL,
    notes text[] NOT NULL,
    findings_total bigint NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, entity_id)
);

-- What one transaction did. A killed run is resumed from these, and its sums are proved with them.
CREATE TABLE syncd_work_unit (
    run_id bigint NOT NULL REFERENCES syncd_run ON DELETE CASCADE,
    entity_id integer NOT NULL,
    unit_id text NOT NULL,
    attempt integer NOT NULL,
    counts jsonb NOT NULL,
    redone jsonb NOT NULL,
    PRIMARY KEY (run_id, entity_id, unit_id)
);

CREATE TABLE syncd_finding (
    finding_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES syncd_run ON DELETE CASCADE,
    entity_id integer NOT NULL,
    severity text NOT NULL,
    code text NOT NULL,
    field text NOT NULL,
    place text NOT NULL
);
CREATE INDEX syncd_finding_run ON syncd_finding (run_id, entity_id);

-- History: a line whenever a record's outcome is other than before.
CREATE TABLE syncd_import_record (
    import_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_id integer NOT NULL,
    key bytea NOT NULL,
    run_id bigint NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    columns text[] NOT NULL,
    conflicts text[] NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX syncd_import_record_key ON syncd_import_record (entity_id, key, import_id);
CREATE INDEX syncd_import_record_at ON syncd_import_record (at);

CREATE TABLE syncd_conflict (
    conflict_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_id integer NOT NULL,
    key bytea NOT NULL,
    column_name text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'open',    -- open | closed | resolved_source | resolved_target
    base_hash bytea NOT NULL,
    source_hash bytea NOT NULL,
    target_hash bytea NOT NULL,
    reported integer NOT NULL DEFAULT 1,    -- once per new source value
    run_id bigint NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
CREATE UNIQUE INDEX syncd_conflict_open ON syncd_conflict (entity_id, key, column_name)
    WHERE status = 'open';
CREATE INDEX syncd_conflict_ended ON syncd_conflict (ended_at) WHERE status <> 'open';

CREATE TABLE syncd_held_delete (
    entity_id integer NOT NULL,
    key bytea NOT NULL,
    run_id bigint NOT NULL,
    missed_runs integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    decision text NOT NULL DEFAULT '',      -- '' | approved | rejected
    decided_at timestamptz,
    PRIMARY KEY (entity_id, key)
);

CREATE TABLE syncd_outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_id integer NOT NULL,
    key bytea NOT NULL,
    type text NOT NULL,
    outcome text NOT NULL,
    run_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);
CREATE INDEX syncd_outbox_unsent ON syncd_outbox (outbox_id) WHERE sent_at IS NULL;
CREATE INDEX syncd_outbox_sent ON syncd_outbox (sent_at) WHERE sent_at IS NOT NULL;
