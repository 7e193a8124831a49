-- The tables of Manage and Deliver (M&D) that the import touches, and those that they refer to, as
-- the reference page of the system describes them. They belong to M&D's own migrations: syncd makes
-- none of them. This file is for demos, tests, and whoever wants to see what is written where.
-- PostgreSQL 15 or newer (NULLS NOT DISTINCT). All times are local and without a zone, as in M&D.

CREATE TABLE referral (
    id uuid PRIMARY KEY,
    person_name text,
    crn text,
    created_at timestamp NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT 'Accredited Programmes automated update',
    intervention_type text CHECK (intervention_type IN ('SI', 'ACP', 'CRS', 'TOOLKITS')),
    intervention_name text,
    setting text CHECK (setting IN ('COMMUNITY', 'CUSTODY', 'REMAND', 'PRE_RELEASE')),
    event_id text,
    event_number integer,
    sourced_from text CHECK (sourced_from IN ('REQUIREMENT', 'LICENCE_CONDITION')),
    sentence_end_date date,
    sex text,
    date_of_birth date,
    updated_at timestamp NOT NULL DEFAULT now(),
    CONSTRAINT uk_referral_crn_event_sourced
        UNIQUE NULLS NOT DISTINCT (crn, event_id, sourced_from)
);

CREATE TABLE referral_reporting_location (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    referral_id uuid NOT NULL UNIQUE REFERENCES referral,
    region_name text NOT NULL DEFAULT 'UNKNOWN_REGION_NAME',
    pdu_name text NOT NULL DEFAULT 'UNKNOWN_PDU_NAME',
    reporting_team text NOT NULL DEFAULT 'UNKNOWN_REPORTING_TEAM',
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE referral_status_description (
    id uuid PRIMARY KEY,
    description_text text NOT NULL,
    is_closed boolean NOT NULL,
    label_colour text NOT NULL
);

INSERT INTO referral_status_description (id, description_text, is_closed, label_colour) VALUES
    ('76b2f8d8-260c-4766-a716-de9325292609', 'Awaiting assessment', false, 'purple'),
    ('bb1e8c72-cf52-4297-94a4-3745c2a25178', 'Awaiting allocation', false, 'light-blue'),
    ('336b59cd-b467-4305-8547-6a645a8a3f91', 'Suitable but not ready', false, 'yellow'),
    ('69cfa202-47b6-4ae6-8175-69291b6acaaa', 'Deferred', false, 'yellow'),
    ('bc8c7024-045b-4a82-bb97-e6b8c0f198cb', 'Deprioritised', false, 'yellow'),
    ('5540420d-7754-41aa-b985-3d1d11597cc9', 'Scheduled', false, 'blue'),
    ('70b1ae27-2322-4775-81e0-86fa5cc7d477', 'On programme', false, 'turquoise'),
    ('afc0b94c-b983-4a68-a109-0be29a7d3b2f', 'Breach (non-attendance)', false, 'red'),
    ('aec91cd3-fba0-40a4-a5c6-7578b596af75', 'Recall', false, 'red'),
    ('e9fb9e3a-147b-4f26-aa0c-d852db4b7fef', 'Return to court', false, 'red'),
    ('c7afd853-b776-4bbd-8f8d-f868b755279a', 'Programme complete', true, 'green'),
    ('1b476286-2fba-41b4-a1e5-35439ef63270', 'Withdrawn', true, 'grey');

-- Appended to, never changed; the newest by created_at is the current one.
CREATE TABLE referral_status_history (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamp NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    start_date timestamp,
    referral_status_description_id uuid NOT NULL REFERENCES referral_status_description,
    referral_id uuid NOT NULL REFERENCES referral,
    additional_details text,
    created_by_full_name varchar(150)
);
CREATE INDEX ON referral_status_history (referral_id, created_at);

CREATE TABLE referral_cohort_history (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    referral_id uuid NOT NULL REFERENCES referral,
    cohort text NOT NULL DEFAULT 'GENERAL_OFFENCE'
        CHECK (cohort IN ('GENERAL_OFFENCE', 'SEXUAL_OFFENCE')),
    created_by text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX ON referral_cohort_history (referral_id);

CREATE TABLE referral_ldc_history (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    referral_id uuid NOT NULL REFERENCES referral,
    has_ldc boolean NOT NULL,
    created_by text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX ON referral_ldc_history (referral_id);

CREATE TABLE facilitator (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    person_name text NOT NULL,
    ndelius_person_code text NOT NULL,
    ndelius_team_code text NOT NULL,
    ndelius_team_name text NOT NULL
);

CREATE TABLE accredited_programme_template (
    id uuid PRIMARY KEY,
    name text NOT NULL
);
INSERT INTO accredited_programme_template VALUES
    ('b6d2e7aa-3b0e-4d1f-9f55-0d0f4c1f0001', 'Building Choices');

CREATE TABLE module (
    id uuid PRIMARY KEY,
    accredited_programme_template_id uuid NOT NULL REFERENCES accredited_programme_template,
    module_number integer NOT NULL UNIQUE,
    name text NOT NULL
);
INSERT INTO module (id, accredited_programme_template_id, module_number, name)
SELECT md5('module/' || number)::uuid, 'b6d2e7aa-3b0e-4d1f-9f55-0d0f4c1f0001', number, name
FROM (VALUES
    (1, 'Pre-group one-to-ones'),
    (2, 'Getting started'),
    (3, 'Managing myself'),
    (4, 'Managing life''s problems'),
    (5, 'Managing people around me'),
    (6, 'Bringing it all together'),
    (7, 'Post-programme reviews')) AS made (number, name);

CREATE TABLE module_session_template (
    id uuid PRIMARY KEY,
    module_id uuid NOT NULL REFERENCES module,
    session_number integer NOT NULL,
    session_type text NOT NULL CHECK (session_type IN ('GROUP', 'ONE_TO_ONE')),
    pathway text NOT NULL CHECK (pathway IN ('MODERATE_INTENSITY', 'HIGH_INTENSITY')),
    duration_minutes integer NOT NULL,
    UNIQUE (module_id, session_number)
);
-- 27 in all. How many each module has is not public; these ids and numbers are of our making.
INSERT INTO module_session_template
    (id, module_id, session_number, session_type, pathway, duration_minutes)
SELECT md5('session/' || number || '/' || session)::uuid, md5('module/' || number)::uuid, session,
       CASE WHEN number IN (1, 7) THEN 'ONE_TO_ONE' ELSE 'GROUP' END, 'MODERATE_INTENSITY',
       CASE WHEN number IN (1, 7) THEN 60 ELSE 150 END
FROM (VALUES (1, 2), (2, 4), (3, 5), (4, 5), (5, 5), (6, 4), (7, 2)) AS made (number, sessions),
     LATERAL generate_series(1, sessions) AS session;

CREATE TABLE programme_group (
    id uuid PRIMARY KEY,
    code text NOT NULL,
    region_name text NOT NULL DEFAULT 'UNKNOWN REGION',
    cohort text NOT NULL,
    sex text NOT NULL CHECK (sex IN ('MALE', 'FEMALE', 'MIXED')),
    is_ldc boolean NOT NULL,
    created_at timestamp NOT NULL,
    created_by_username text NOT NULL,
    updated_at timestamp,
    updated_by_username text,
    deleted_at timestamp,
    deleted_by_username text,
    started_at_date date,
    earliest_possible_start_date date NOT NULL,
    probation_delivery_unit_name text NOT NULL,
    probation_delivery_unit_code text NOT NULL,
    delivery_location_name text NOT NULL,
    delivery_location_code text NOT NULL,
    treatment_manager_id uuid REFERENCES facilitator,
    accredited_programme_template_id uuid REFERENCES accredited_programme_template,
    CONSTRAINT uk_programme_group_code_region UNIQUE (code, region_name)
);

CREATE TABLE programme_group_facilitator (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    programme_group_id uuid NOT NULL REFERENCES programme_group,
    facilitator_id uuid NOT NULL REFERENCES facilitator,
    added_at timestamp NOT NULL DEFAULT now(),
    facilitator_type text NOT NULL
        CHECK (facilitator_type IN ('REGULAR_FACILITATOR', 'COVER_FACILITATOR'))
);

CREATE TABLE programme_group_session_slot (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    programme_group_id uuid NOT NULL REFERENCES programme_group,
    day_of_week text NOT NULL CHECK (day_of_week IN
        ('MONDAY', 'TUESDAY', 'WEDNESDAY', 'THURSDAY', 'FRIDAY', 'SATURDAY', 'SUNDAY')),
    start_time time NOT NULL,
    updated_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX ON programme_group_session_slot (programme_group_id);

CREATE TABLE programme_group_membership (
    id uuid PRIMARY KEY,
    programme_group_id uuid NOT NULL REFERENCES programme_group,
    referral_id uuid NOT NULL REFERENCES referral,
    created_at timestamp NOT NULL DEFAULT now(),
    created_by_username text NOT NULL,
    deleted_at timestamp,
    deleted_by_username text
);
-- One active group for each referral.
CREATE UNIQUE INDEX uk_membership_active_referral
    ON programme_group_membership (referral_id) WHERE deleted_at IS NULL;
CREATE INDEX ON programme_group_membership (programme_group_id);

CREATE TABLE session (
    id uuid PRIMARY KEY,
    programme_group_id uuid NOT NULL REFERENCES programme_group ON DELETE CASCADE,
    module_session_template_id uuid NOT NULL REFERENCES module_session_template,
    is_catchup boolean NOT NULL DEFAULT false,
    is_placeholder boolean NOT NULL DEFAULT false,
    location_name text,
    starts_at timestamp NOT NULL,
    ends_at timestamp NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    created_by_username text,
    updated_at timestamp
);
CREATE INDEX ON session (programme_group_id);

CREATE TABLE session_facilitator (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    facilitator_id uuid NOT NULL REFERENCES facilitator
);

CREATE TABLE attendee (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    referral_id uuid NOT NULL REFERENCES referral,
    session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    updated_at timestamp
);
CREATE INDEX ON attendee (session_id);

CREATE TABLE session_attendance_outcome_type (
    code varchar(5) PRIMARY KEY,
    description text NOT NULL
);
INSERT INTO session_attendance_outcome_type VALUES
    ('ATTC', 'Attended - complied'),
    ('AFTC', 'Attended - failed to comply'),
    ('UAAB', 'Unacceptable absence');

CREATE TABLE session_attendance (
    id uuid PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES session,
    group_membership_id uuid NOT NULL REFERENCES programme_group_membership ON DELETE RESTRICT,
    legitimate_absence boolean,
    recorded_by_facilitator_id uuid REFERENCES facilitator,
    recorded_at timestamp,
    outcome_type_code varchar(5) REFERENCES session_attendance_outcome_type,
    created_by text,
    created_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX ON session_attendance (session_id);

CREATE TABLE session_notes_history (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_attendance_id uuid NOT NULL REFERENCES session_attendance,
    notes text,
    created_by text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE ndelius_appointment (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    ndelius_appointment_id uuid NOT NULL,
    session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    referral_id uuid NOT NULL REFERENCES referral
);

CREATE TABLE message_history (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    event_type text NOT NULL,
    detail_url text,
    description text,
    occurred_at timestamp NOT NULL,
    message text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    referral_id uuid REFERENCES referral,
    ms_to_process bigint
);

-- The inner lateral join is M&D's: a referral without a status is seen by nobody.
CREATE VIEW referral_caselist_item_view AS
SELECT r.id AS referral_id, r.crn, r.person_name, d.description_text AS status, d.is_closed,
       l.region_name, l.pdu_name, l.reporting_team
FROM referral r
JOIN LATERAL (
    SELECT h.referral_status_description_id FROM referral_status_history h
    WHERE h.referral_id = r.id ORDER BY h.created_at DESC LIMIT 1) latest ON true
JOIN referral_status_description d ON d.id = latest.referral_status_description_id
LEFT JOIN referral_reporting_location l ON l.referral_id = r.id;
