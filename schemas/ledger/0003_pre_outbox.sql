-- An event waits for the earlier ones of its record; this finds them.
CREATE INDEX syncd_outbox_record ON syncd_outbox (entity_id, key, outbox_id) WHERE sent_at IS NULL;
