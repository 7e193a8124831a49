-- The legacy system: Casebook, a case management system of an invented probation service.
-- Every value follows from a number, so that each demo tells the same story.

CREATE SCHEMA casebook;

CREATE TABLE casebook.region (
    region_code text PRIMARY KEY,
    region_name text NOT NULL
);

CREATE TABLE casebook.office (
    office_no integer PRIMARY KEY,
    region_code text NOT NULL REFERENCES casebook.region,
    office_name text NOT NULL,
    town text NOT NULL,
    postcode text NOT NULL
);

-- Twenty years of features: codes for words, dates as text, columns that nobody uses any more.
CREATE TABLE casebook.referral_hdr (
    ref_no bigint PRIMARY KEY,
    office_no integer NOT NULL REFERENCES casebook.office,
    person_no char(8) NOT NULL,
    forename text NOT NULL,
    surname text NOT NULL,
    dob date NOT NULL,
    prog_cd text NOT NULL,
    stat_cd char(1) NOT NULL,
    referred timestamp NOT NULL,
    due text,                       -- 'DD/MM/YYYY', typed by hand
    risk_cd char(1) NOT NULL,
    remarks text,
    upd timestamp,                  -- batch jobs never set it
    fax_no text,
    old_area_cd text
);

-- The old system never checked ref_no here.
CREATE TABLE casebook.session_log (
    session_no bigint PRIMARY KEY,
    ref_no bigint NOT NULL,
    held date NOT NULL,
    mins integer NOT NULL,
    attend_cd char(1) NOT NULL,
    led_by text NOT NULL
);

INSERT INTO casebook.region VALUES
    ('EA', 'Eastern Fens'), ('HL', 'High Lakes'), ('MD', 'Middle Downs'),
    ('NC', 'North Coast'), ('SW', 'Southern Weald'), ('WV', 'West Vales');

INSERT INTO casebook.office
SELECT 100 + n, (ARRAY['EA', 'HL', 'MD', 'NC', 'SW', 'WV'])[1 + n % 6],
       town || ' ' || (ARRAY['Office', 'House', 'Centre'])[1 + n % 3], town,
       (ARRAY['EF', 'HK', 'MW', 'NX', 'SV', 'WQ'])[1 + n % 6] || 1 + n % 9 || ' ' || 1 + n * 5 % 9
       || chr(65 + n * 7 % 26) || chr(65 + n * 11 % 26)
FROM unnest(ARRAY[
    'Aldermere', 'Brackwater', 'Coldharbour', 'Dunwick', 'Eastleigh Cross', 'Fenbury', 'Garrowby',
    'Hallowdale', 'Inverley', 'Kelderton', 'Langmoor', 'Marshgate', 'Netherby', 'Oakhampton Bay',
    'Penrose', 'Quernmore', 'Ravensholt', 'Saltmarsh', 'Thornleigh', 'Upper Wick', 'Velden',
    'Westering', 'Yarnbrook', 'Zeal'
]) WITH ORDINALITY AS towns (town, place) CROSS JOIN LATERAL (SELECT place::integer) AS at (n);

INSERT INTO casebook.referral_hdr
SELECT 1000 + n, 101 + n * 7 % 24,
       chr(65 + n * 5 % 26) || lpad((n * 7919 % 999983)::text, 6, '0') || chr(65 + n * 3 % 26),
       (ARRAY['Amir', 'Beth', 'Carl', 'Dina', 'Elis', 'Femi', 'Gwen', 'Hugo', 'Ines', 'Josh',
              'Kali', 'Liam', 'Maud', 'Niko', 'Olga', 'Petra', 'Rhys'])[1 + n * 13 % 17],
       (ARRAY['Abbott', 'Barnes', 'Cole', 'Dyer', 'Ellis', 'Frost', 'Grant', 'Hale', 'Irwin',
              'Jones', 'Khan', 'Lowe', 'Mason', 'Nunn', 'O''Hara', 'Pike', 'Quinn', 'Reyes',
              'Shaw'])[1 + n * 29 % 19],
       date '1958-03-01' + n * 37 % 17000,
       (ARRAY['BC', 'HR', 'TS', 'NB'])[1 + n % 4],
       -- The first ten have only just come in; nobody has been seen yet.
       CASE WHEN n <= 10 THEN 'R' ELSE (ARRAY['R', 'A', 'A', 'A', 'C', 'W'])[1 + n * 17 % 6] END,
       timestamp '2024-01-08 09:00' + n * interval '3 hours',
       to_char(date '2026-04-01' + n * 11 % 400, 'DD/MM/YYYY'),
       (ARRAY['L', 'M', 'M', 'H'])[1 + n * 19 % 4],
       CASE WHEN n % 9 = 0 THEN 'Interpreter needed' WHEN n % 14 = 0 THEN 'Evenings only' END,
       CASE WHEN n % 3 > 0 THEN timestamp '2026-01-05 10:00' + n * interval '7 minutes' END,
       CASE WHEN n % 50 = 0 THEN '0900 000000' END,
       'A' || n % 8
FROM generate_series(1, 5000) AS n;

-- Those that were accepted (some of them have since completed) were seen three or more times.
INSERT INTO casebook.session_log
SELECT 20000 + row_number() OVER (ORDER BY visit, ref_no), ref_no,
       referred::date + 7 * visit, (ARRAY[45, 60, 60, 90, 120])[1 + (ref_no + visit) % 5],
       (ARRAY['A', 'A', 'A', 'A', 'L', 'M'])[1 + (ref_no * 3 + visit) % 6],
       (ARRAY['C. Okafor', 'D. Price', 'M. Lindqvist', 'R. Iqbal', 'S. Walsh', 'T. Byrne'])
       [1 + (ref_no + visit * 5) % 6]
FROM casebook.referral_hdr CROSS JOIN generate_series(1, 6) AS visit
WHERE stat_cd IN ('A', 'C') AND visit <= 3 + ref_no % 4;

ANALYZE;
