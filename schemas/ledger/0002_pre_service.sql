-- What a daemon needs beside a run: work that was asked for, pauses, an audit, and an outbox that is
-- sent. The older version goes on working: it neither reads nor writes any of this.

-- Work that was asked for, by whomever, and whichever instance heard it. For each scope at most one
-- claim waits and one runs; whoever asks again is answered with the one that waits.
CREATE TABLE syncd_claim (
    claim_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    scope text NOT NULL,                      -- '' all entities, else their names, sorted, with commas
    origin text NOT NULL,                     -- schedule | dump | signal | api | cli
    requested_by text NOT NULL,
    requests integer NOT NULL DEFAULT 1,      -- how often it was asked for
    status text NOT NULL DEFAULT 'waiting',   -- waiting | running | done | failed | cancelled
    run_id bigint,
    epoch bigint NOT NULL DEFAULT 0,          -- of the lease that took it; an older one has died
    reason text NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE UNIQUE INDEX syncd_claim_waiting ON syncd_claim (pipeline, scope) WHERE status = 'waiting';
CREATE UNIQUE INDEX syncd_claim_running ON syncd_claim (pipeline, scope) WHERE status = 'running';
CREATE INDEX syncd_claim_finished ON syncd_claim (finished_at) WHERE finished_at IS NOT NULL;

-- What rests until somebody lets it go on; entity '' is the whole pipeline.
CREATE TABLE syncd_pause (
    pipeline text NOT NULL,
    entity text NOT NULL,
    reason text NOT NULL,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, entity)
);

-- Who decided or asked for what. Rows are added and, past their retention, removed; never changed.
CREATE TABLE syncd_audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    pipeline text NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    outcome text NOT NULL,                    -- allowed | denied | failed
    correlation_id text NOT NULL,
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX syncd_audit_at ON syncd_audit (at);

CREATE FUNCTION syncd_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '28 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE ON syncd_audit
    FOR EACH ROW EXECUTE FUNCTION syncd_audit_guard();

-- The outbox is sent at least once, in order per record. One event that cannot be sent holds back
-- those of its own record only.
ALTER TABLE syncd_outbox
    ADD COLUMN event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN retry_at timestamptz,
    ADD COLUMN reason text NOT NULL DEFAULT '';

-- What was decided about a conflict, until a run has carried it out, whoever's process that is.
ALTER TABLE syncd_conflict ADD COLUMN decision text NOT NULL DEFAULT '';  -- '' | source
CREATE INDEX syncd_conflict_decided ON syncd_conflict (entity_id) WHERE decision <> '';
