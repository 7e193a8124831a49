-- One row for each session; M&D knows the sessions of the programme by ids of its own.
SELECT
    s.source_session_id, s.source_group_id, s.starts_at, s.ends_at, s.location_name, s.is_catchup,
    s.is_placeholder, s.created_at, s.created_by,
    s.source_updated_at AT TIME ZONE 'Europe/London' AS source_updated_at,
    t.id AS session_template_id
FROM im_data_import.session s
LEFT JOIN public.module m ON m.module_number = s.module_number
LEFT JOIN public.module_session_template t
    ON t.module_id = m.id AND t.session_number = s.session_number
