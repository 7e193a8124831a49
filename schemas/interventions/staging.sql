-- The staging schema of the import, and the one table in it that is not made anew with each dump.
-- `syncd run` and `syncd lookup load` make what is not there, so this file is for those who manage
-- their schemas elsewhere. The staging tables themselves (referral, reporting_location,
-- programme_group, group_slot, group_allocation, session, session_attendance) follow from the
-- queries in config/interventions/stage and are swapped in whole.
CREATE SCHEMA IF NOT EXISTS im_data_import;

-- Licence condition and requirement numbers of referrals whose number IM does not hold. Loaded by
-- `syncd lookup load iaps_licreqnos FILE.csv`. A referral may have none, one or several.
CREATE TABLE IF NOT EXISTS im_data_import.iaps_licreqnos (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_referral_id text NOT NULL,
    licreqno text NOT NULL
);
CREATE INDEX IF NOT EXISTS iaps_licreqnos_source_referral_id_idx
    ON im_data_import.iaps_licreqnos (source_referral_id);
