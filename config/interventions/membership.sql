-- One row for each allocation of a referral to a group.
SELECT source_allocation_id, source_group_id, source_referral_id, created_at, created_by, removed_at
FROM im_data_import.group_allocation
