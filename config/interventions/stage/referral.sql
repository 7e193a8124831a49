-- Runs at IM: thirteen fields out of 120. In the part of SQL that SQL Server and PostgreSQL share.
-- The number of the requirement or licence condition is what IM holds, which may be wrong.
SELECT
    LOWER(CAST(r.ReferralID AS VARCHAR(36))) AS source_referral_id,
    UPPER(LTRIM(RTRIM(r.Reference))) AS crn,
    LTRIM(RTRIM(r.Forename)) AS first_name,
    LTRIM(RTRIM(r.Surname)) AS last_name,
    CAST(r.CreateTs AS DATE) AS created_at,
    CASE UPPER(LTRIM(RTRIM(r.SourcedFromCode)))
        WHEN 'REQ' THEN 'REQUIREMENT'
        WHEN 'LIC' THEN 'LICENCE_CONDITION'
    END AS sourced_from,
    LTRIM(RTRIM(r.SourcedFromID)) AS sourced_from_id,
    UPPER(LTRIM(RTRIM(r.SexCode))) AS sex,
    CAST(r.DateOfBirth AS DATE) AS date_of_birth,
    UPPER(LTRIM(RTRIM(r.StatusCode))) AS status_code,
    r.StatusTs AS status_at,
    UPPER(LTRIM(RTRIM(r.CohortCode))) AS cohort_code,
    r.UpdateTs AS source_updated_at
FROM dbo.Referral r
WHERE COALESCE(r.IsDeleted, 0) = 0
