-- What the event of an imported referral says: M&D's own id, and the CRN by which nDelius knows who.
SELECT l.source_id AS key, r.id AS "REFERRAL_ID", r.crn
FROM public.data_import_record l
JOIN public.referral r ON r.id = l.target_id
WHERE l.entity_type = 'REFERRAL' AND l.source_id = ANY($1::text[])
