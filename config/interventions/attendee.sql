-- Who is expected at a session: one row for each line of attendance.
SELECT source_attendance_id, source_session_id, source_referral_id
FROM im_data_import.attendance
