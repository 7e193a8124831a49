-- The wide old table, reduced to what the new system needs and in its words.
SELECT ref_no, office_no, person_no::text AS person_ref, forename, surname, dob AS born_on,
       CASE prog_cd WHEN 'BC' THEN 'Building Choices' WHEN 'HR' THEN 'Healthy Relationships'
                    WHEN 'TS' THEN 'Thinking Skills' WHEN 'NB' THEN 'New Beginnings'
                    ELSE prog_cd END AS programme,
       CASE stat_cd WHEN 'R' THEN 'received' WHEN 'A' THEN 'accepted' WHEN 'C' THEN 'completed'
                    WHEN 'W' THEN 'withdrawn' ELSE stat_cd END AS status,
       referred::date AS referred_on,
       -- '31/12/2026' becomes '2026-12-31'; whether that is a date, the pipeline finds out.
       substr(due, 7) || '-' || substr(due, 4, 2) || '-' || substr(due, 1, 2) AS due_on,
       CASE risk_cd WHEN 'L' THEN 'low' WHEN 'M' THEN 'medium' WHEN 'H' THEN 'high'
                    ELSE risk_cd END AS risk,
       remarks AS case_notes
FROM casebook.referral_hdr
