-- Whether a member of a group came to a session, with the referral that the member is.
SELECT
    LOWER(CAST(t.AttendanceID AS VARCHAR(36))) AS source_attendance_id,
    LOWER(CAST(t.SessionID AS VARCHAR(36))) AS source_session_id,
    LOWER(CAST(t.AllocationID AS VARCHAR(36))) AS source_allocation_id,
    LOWER(CAST(a.ReferralID AS VARCHAR(36))) AS source_referral_id,
    UPPER(LTRIM(RTRIM(t.OutcomeCode))) AS outcome_code,
    CASE WHEN t.IsLegitimate = 1 THEN 1 WHEN t.IsLegitimate = 0 THEN 0 END AS is_legitimate,
    t.RecordedTs AS recorded_at,
    LTRIM(RTRIM(t.RecordedBy)) AS recorded_by
FROM dbo.Attendance t
LEFT JOIN dbo.GroupAllocation a ON a.AllocationID = t.AllocationID
