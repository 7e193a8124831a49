-- One row for each referral, with its place, and with its number out of the lookup where IM lacks
-- one: `lookup_needed` tells of which dates.
SELECT
    r.source_referral_id, r.crn, r.first_name, r.last_name, r.created_at, r.sourced_from,
    r.sourced_from_id, r.sex, r.date_of_birth, r.status_code, r.status_at, r.cohort_code,
    r.source_updated_at AT TIME ZONE 'Europe/London' AS source_updated_at,
    l.region_name, l.pdu_name, l.reporting_team_name,
    n.licreqno, coalesce(n.licreqnos, 0) AS licreqnos,
    coalesce(r.created_at >= coalesce(w.needed_from, '-infinity')
        AND r.created_at < coalesce(w.needed_before, 'infinity'), true) AS needs_licreqno
FROM im_data_import.referral r
LEFT JOIN im_data_import.reporting_location l USING (source_referral_id)
LEFT JOIN (
    SELECT source_referral_id, min(licreqno) AS licreqno, count(DISTINCT licreqno) AS licreqnos
    FROM im_data_import.iaps_licreqnos
    GROUP BY source_referral_id
) n USING (source_referral_id)
LEFT JOIN im_data_import.lookup_needed w ON w.name = 'iaps_licreqnos'
