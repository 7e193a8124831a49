-- The new system: Casework. Its tables are its own; syncd is a guest here.

CREATE TABLE region (
    region_code text PRIMARY KEY,
    region_name text NOT NULL
);

CREATE TABLE office (
    office_no integer PRIMARY KEY,
    region_code text NOT NULL REFERENCES region,
    office_name text NOT NULL,
    town text NOT NULL,
    postcode text NOT NULL
);

CREATE TABLE referral (
    ref_no bigint PRIMARY KEY,
    office_no integer NOT NULL REFERENCES office,
    person_ref text NOT NULL,
    forename text NOT NULL,
    surname text NOT NULL,
    born_on date NOT NULL,
    programme text NOT NULL,
    status text NOT NULL CHECK (status IN ('received', 'accepted', 'completed', 'withdrawn')),
    referred_on date NOT NULL,
    due_on date,
    risk text NOT NULL CHECK (risk IN ('low', 'medium', 'high')),
    case_notes text,
    assigned_to text,               -- exists only here
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT referral_dates CHECK (due_on >= referred_on)
);

CREATE TABLE session (
    session_no bigint PRIMARY KEY,
    ref_no bigint NOT NULL REFERENCES referral,
    held_on date NOT NULL,
    minutes integer NOT NULL CONSTRAINT session_minutes CHECK (minutes BETWEEN 5 AND 480),
    attendance text NOT NULL CHECK (attendance IN ('attended', 'late', 'missed')),
    led_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX session_ref_no ON session (ref_no);

-- As most frameworks do: every save sets the time, whether or not it changed anything.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER referral_touch BEFORE UPDATE ON referral FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER session_touch BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION touch();
