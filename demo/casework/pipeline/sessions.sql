SELECT session_no, ref_no, held AS held_on, mins AS minutes,
       CASE attend_cd WHEN 'A' THEN 'attended' WHEN 'L' THEN 'late' WHEN 'M' THEN 'missed'
                      ELSE attend_cd END AS attendance,
       led_by
FROM casebook.session_log
