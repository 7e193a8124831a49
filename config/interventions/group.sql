-- One row for each group, with its weekly times as one document.
SELECT
    g.source_group_id, g.code, g.region_name, g.cohort_code, g.sex, g.is_ldc, g.pdu_code, g.pdu_name,
    g.location_code, g.location_name, g.started_at_date, g.earliest_start_date, g.created_at,
    g.created_by, g.source_updated_at AT TIME ZONE 'Europe/London' AS source_updated_at,
    coalesce(s.slots, '[]'::jsonb) AS slots,
    (SELECT t.id FROM public.accredited_programme_template t WHERE t.name = 'Building Choices'
     ORDER BY t.id LIMIT 1) AS programme_template_id
FROM im_data_import.programme_group g
LEFT JOIN (
    SELECT source_group_id,
           jsonb_agg(jsonb_build_object('day', day_number, 'at', start_time)
                     ORDER BY day_number, start_time) AS slots
    FROM im_data_import.group_slot
    GROUP BY source_group_id
) s USING (source_group_id)
