-- Groups with the names of their places.
SELECT
    LOWER(CAST(g.GroupID AS VARCHAR(36))) AS source_group_id,
    LTRIM(RTRIM(g.GroupCode)) AS code,
    LTRIM(RTRIM(r.RegionName)) AS region_name,
    UPPER(LTRIM(RTRIM(g.CohortCode))) AS cohort_code,
    UPPER(LTRIM(RTRIM(g.SexCode))) AS sex,
    CASE WHEN g.IsLdc = 1 THEN 1 ELSE 0 END AS is_ldc,
    LTRIM(RTRIM(g.PduCode)) AS pdu_code,
    LTRIM(RTRIM(p.PduName)) AS pdu_name,
    LTRIM(RTRIM(g.LocationCode)) AS location_code,
    LTRIM(RTRIM(g.LocationName)) AS location_name,
    CAST(g.StartDate AS DATE) AS started_at_date,
    CAST(g.EarliestStartDate AS DATE) AS earliest_start_date,
    g.CreateTs AS created_at,
    LTRIM(RTRIM(g.CreatedBy)) AS created_by,
    g.UpdateTs AS source_updated_at
FROM dbo.ProgrammeGroup g
LEFT JOIN dbo.Pdu p ON p.PduCode = g.PduCode
LEFT JOIN dbo.Region r ON r.RegionCode = g.RegionCode
WHERE COALESCE(g.IsDeleted, 0) = 0
