-- Which referral is in which group, and until when.
SELECT
    LOWER(CAST(a.AllocationID AS VARCHAR(36))) AS source_allocation_id,
    LOWER(CAST(a.GroupID AS VARCHAR(36))) AS source_group_id,
    LOWER(CAST(a.ReferralID AS VARCHAR(36))) AS source_referral_id,
    a.AllocatedTs AS created_at,
    LTRIM(RTRIM(a.AllocatedBy)) AS created_by,
    a.RemovedTs AS removed_at
FROM dbo.GroupAllocation a
