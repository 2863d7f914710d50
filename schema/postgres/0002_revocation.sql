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
