-- Hydration, of every second referral: it knows better than IM who somebody is and where he reports.
UPDATE referral SET person_name = 'Hydrated ' || crn, sex = 'Male', date_of_birth = '1980-02-03',
    sentence_end_date = '2028-01-31', event_number = 1, updated_at = now()
WHERE right(crn, 1) IN ('0', '2', '4', '6', '8');
UPDATE referral_reporting_location l SET pdu_name = 'From nDelius', updated_at = now()
FROM referral r WHERE r.id = l.referral_id AND r.person_name LIKE 'Hydrated %';

-- Staff: one referral, one status, one weekly time, one session.
UPDATE referral SET setting = 'CUSTODY'
WHERE id = (SELECT id FROM referral ORDER BY crn LIMIT 1);
INSERT INTO referral_status_history (referral_id, referral_status_description_id, created_by)
SELECT id, 'afc0b94c-b983-4a68-a109-0be29a7d3b2f', 'a.person' FROM referral ORDER BY crn LIMIT 1;
INSERT INTO programme_group_session_slot (programme_group_id, day_of_week, start_time)
SELECT id, 'SATURDAY', '07:30' FROM programme_group ORDER BY code LIMIT 1;

-- What the story asks for later.
CREATE TABLE demo_kept AS
SELECT (SELECT count(*) FROM referral WHERE person_name LIKE 'Hydrated %') AS n,
       (SELECT s.id FROM session s WHERE NOT EXISTS
            (SELECT 1 FROM session_attendance a WHERE a.session_id = s.id)
            AND NOT EXISTS (SELECT 1 FROM attendee e WHERE e.session_id = s.id)
        ORDER BY s.id LIMIT 1) AS session_id;
DELETE FROM session WHERE id = (SELECT session_id FROM demo_kept);
