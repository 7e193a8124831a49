-- A day in the legacy system.

-- Ordinary work: 147 referrals are completed, 25 arrive, 40 people are seen.
UPDATE casebook.referral_hdr SET stat_cd = 'C', upd = timestamp '2026-03-10 16:20'
WHERE stat_cd = 'A' AND ref_no % 17 = 4;

INSERT INTO casebook.referral_hdr
SELECT 6000 + n, 101 + n % 24, 'N' || lpad((n * 104729 % 999983)::text, 6, '0') || 'X', 'Noor',
       'Ahmed', date '1990-01-01' + n * 91, 'BC', 'R', timestamp '2026-03-10 09:30',
       '01/12/2026', 'M', NULL, timestamp '2026-03-10 09:30', NULL, NULL
FROM generate_series(1, 25) AS n;

INSERT INTO casebook.session_log
SELECT 90000 + row_number() OVER (ORDER BY ref_no), ref_no, date '2026-03-10', 60, 'A', 'D. Price'
FROM casebook.referral_hdr WHERE stat_cd = 'A' ORDER BY ref_no LIMIT 40;

-- Five referrals that staff of the new system touch on the same day are accepted here, by a
-- batch job that leaves no time behind.
UPDATE casebook.referral_hdr SET stat_cd = 'A', upd = NULL
WHERE ref_no IN (1001, 1002, 1003, 1005, 1006);

-- Four were made by mistake and are removed.
DELETE FROM casebook.referral_hdr WHERE ref_no IN (1004, 1007, 1008, 1009);

-- A due date that no calendar has.
UPDATE casebook.referral_hdr SET due = '31/02/2027' WHERE ref_no = 1010;

-- Somebody typed 900 minutes for 90, and somebody logged a session before its referral.
INSERT INTO casebook.session_log VALUES
    (91001, 1102, date '2026-03-10', 900, 'A', 'R. Iqbal'),
    (91002, 6099, date '2026-03-10', 60, 'A', 'S. Walsh');

-- An archive job that nobody had told anybody about takes the 300 oldest sessions.
DELETE FROM casebook.session_log WHERE session_no <= 20300;
