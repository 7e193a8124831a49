-- The next day in the legacy system: the referral is entered, and two mistakes are corrected.

INSERT INTO casebook.referral_hdr
VALUES (6099, 104, 'N770101K', 'Mina', 'Sato', date '1994-07-02', 'TS', 'A',
        timestamp '2026-03-11 08:45', '15/12/2026', 'L', NULL, timestamp '2026-03-11 08:45');
UPDATE casebook.session_log SET mins = 90 WHERE session_no = 91001;
UPDATE casebook.referral_hdr SET due = '28/02/2027' WHERE ref_no = 1010;
