-- The same day in the new system. Staff know nothing of syncd.

UPDATE referral SET risk = 'low' WHERE ref_no = 1001;         -- Casebook changes its status
UPDATE referral SET status = 'withdrawn' WHERE ref_no = 1002; -- Casebook says accepted
UPDATE referral SET status = 'accepted' WHERE ref_no = 1003;  -- and so does Casebook
UPDATE referral SET due_on = '2027-01-29' WHERE ref_no = 1004; -- Casebook deletes it
DELETE FROM referral WHERE ref_no = 1005;                     -- Casebook changes it
UPDATE referral SET status = status WHERE ref_no = 1006;      -- a form saved without a change

UPDATE referral SET case_notes = 'Prefers mornings', assigned_to = 'C. Okafor' WHERE ref_no = 1011;
UPDATE session SET minutes = 75 WHERE session_no = 20007;     -- the archive job takes it
