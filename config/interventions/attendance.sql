-- Who came, where an outcome was recorded.
SELECT
    source_attendance_id, source_session_id, source_allocation_id, outcome_code, is_legitimate,
    recorded_at, recorded_by
FROM im_data_import.attendance
WHERE coalesce(outcome_code, '') <> ''
