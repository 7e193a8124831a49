-- Sessions of groups; which session of the programme it is, say two numbers.
SELECT
    LOWER(CAST(s.SessionID AS VARCHAR(36))) AS source_session_id,
    LOWER(CAST(s.GroupID AS VARCHAR(36))) AS source_group_id,
    s.ModuleCode AS module_number,
    s.SessionNumber AS session_number,
    s.StartTs AS starts_at,
    s.EndTs AS ends_at,
    LTRIM(RTRIM(s.LocationName)) AS location_name,
    CASE WHEN s.IsCatchup = 1 THEN 1 ELSE 0 END AS is_catchup,
    CASE WHEN s.IsPlaceholder = 1 THEN 1 ELSE 0 END AS is_placeholder,
    s.CreateTs AS created_at,
    LTRIM(RTRIM(s.CreatedBy)) AS created_by,
    s.UpdateTs AS source_updated_at
FROM dbo.Session s
