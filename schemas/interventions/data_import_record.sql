-- The import log: which record of Interventions Manager is which row of M&D. One line for each record
-- that has landed; it is written in the transaction that writes the row. What was skipped or failed,
-- and why, stands in the ledger (`syncd report`, `syncd explain`).

CREATE TABLE data_import_record (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    entity_type varchar(255) NOT NULL,
    source_id varchar(255) NOT NULL,
    source_updated_at timestamptz,          -- NULL: the old system does not always say
    target_id uuid NOT NULL,
    target_updated_at timestamptz NOT NULL,
    imported_at timestamptz NOT NULL,
    UNIQUE (entity_type, source_id)
);
CREATE INDEX ON data_import_record (entity_type, target_id);
