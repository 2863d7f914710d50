-- What a provable revocation keeps: see spec/revocation.md.

-- The log's head when the version was stored: a later `credential:` entry kills it. 0 for what a version of writ stored that
-- does not know of it, so that any such entry does.
ALTER TABLE credential ADD COLUMN stored_epoch BIGINT NOT NULL DEFAULT 0;

-- Users who are issued nothing until an operator reactivates them.
CREATE TABLE suspended_user (
    tenant TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    -- The latest entry of the revocation log that revoked the user.
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, subject)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON suspended_user TO writ_authority;

-- At most one row: everything was revoked, and nothing is issued or lent until another operator lifts the stop.
CREATE TABLE emergency_stop (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    -- The first entry of the revocation log that stopped everything.
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    -- The operator; null for a stop that no operator made.
    stopped_by TEXT COLLATE "C"
);
GRANT SELECT, INSERT, DELETE ON emergency_stop TO writ_authority;

-- Operators who leave.
GRANT DELETE ON operator TO writ_authority;

-- Entries of the revocation log that holders made, by the ids from the root of the writ: they are limited. Not a log.
CREATE TABLE witnessed (
    seq BIGINT PRIMARY KEY,
    path TEXT COLLATE "C" NOT NULL,
    forget_after BIGINT NOT NULL
);
CREATE INDEX witnessed_path ON witnessed (path, forget_after);
CREATE INDEX witnessed_forget_after ON witnessed (forget_after);
GRANT SELECT, INSERT, DELETE ON witnessed TO writ_authority;

-- Services that may ask whether a writ is active.
CREATE TABLE relying_service (
    tenant TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL UNIQUE,
    audience TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
GRANT SELECT, INSERT, DELETE ON relying_service TO writ_authority;

-- What says beforehand whom a revocation would reach. Null in rows of a version of writ that did not keep it.
ALTER TABLE issued_writ ADD COLUMN holder TEXT COLLATE "C";
-- A JSON list.
ALTER TABLE issued_writ ADD COLUMN services TEXT COLLATE "C";
CREATE INDEX issued_writ_expires ON issued_writ (expires);

-- What can affect nothing any more leaves its table through these alone: an hour after its time, by the server's own clock,
-- a bounded number at once. The authority's role still may not delete.
CREATE FUNCTION forget_revocations(at_most BIGINT) RETURNS BIGINT
    LANGUAGE sql SECURITY DEFINER SET search_path = writ, pg_temp AS $$
    WITH past AS (
        SELECT seq FROM writ.revocation
        WHERE forget_after < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - 3600000
        ORDER BY forget_after LIMIT LEAST(at_most, 10000) FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM writ.revocation WHERE seq IN (SELECT seq FROM past) RETURNING 1)
    SELECT count(*) FROM gone
$$;
CREATE FUNCTION forget_issued_writs(at_most BIGINT) RETURNS BIGINT
    LANGUAGE sql SECURITY DEFINER SET search_path = writ, pg_temp AS $$
    WITH past AS (
        SELECT id FROM writ.issued_writ
        WHERE expires < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - 3600000
        ORDER BY expires LIMIT LEAST(at_most, 10000) FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM writ.issued_writ WHERE id IN (SELECT id FROM past) RETURNING 1)
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_revocations(BIGINT), forget_issued_writs(BIGINT) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_revocations(BIGINT), forget_issued_writs(BIGINT) TO writ_authority;

-- Receipts as they were given, byte for byte; the first one stays.
CREATE TABLE receipt (
    seq BIGINT PRIMARY KEY,
    body TEXT COLLATE "C" NOT NULL
);
GRANT SELECT, INSERT ON receipt TO writ_authority;

-- Edges that were removed or whose key was replaced lately: each may have its last lease from any replica.
CREATE TABLE edge_gone (
    key TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL
);
GRANT SELECT, INSERT, DELETE ON edge_gone TO writ_authority;

-- What edges acknowledged to one replica, for another that owes a receipt. Losing the last of it in a crash costs a wait.
CREATE TABLE edge_heard (
    key TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL,
    settings BIGINT NOT NULL
);
CREATE FUNCTION announce_heard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    PERFORM pg_catalog.pg_notify('writ_heard', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER heard_is_announced AFTER INSERT OR UPDATE ON edge_heard
    FOR EACH STATEMENT EXECUTE FUNCTION announce_heard();
GRANT SELECT, INSERT, UPDATE, DELETE ON edge_heard TO writ_authority;
