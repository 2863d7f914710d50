-- What a provable revocation keeps: see spec/revocation.md.

-- The log's head when the version was stored: a later `credential:` entry kills it. 0 for what a version of writ stored that
-- does not know of it, so that any such entry does.
ALTER TABLE credential ADD COLUMN stored_epoch INTEGER NOT NULL DEFAULT 0;

-- Users who are issued nothing until an operator reactivates them.
CREATE TABLE suspended_user (
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- The latest entry of the revocation log that revoked the user.
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant, subject)
) STRICT;

-- At most one row: everything was revoked, and nothing is issued or lent until another operator lifts the stop.
CREATE TABLE emergency_stop (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- The first entry of the revocation log that stopped everything.
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    -- The operator; null for a stop that no operator made.
    stopped_by TEXT
) STRICT;

-- Entries of the revocation log that holders made, by the ids from the root of the writ: they are limited. Not a log.
CREATE TABLE witnessed (
    seq INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    forget_after INTEGER NOT NULL
) STRICT;
CREATE INDEX witnessed_path ON witnessed (path, forget_after);
CREATE INDEX witnessed_forget_after ON witnessed (forget_after);

-- Services that may ask whether a writ is active.
CREATE TABLE relying_service (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    audience TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

-- What says beforehand whom a revocation would reach. Null in rows of a version of writ that did not keep it.
ALTER TABLE issued_writ ADD COLUMN holder TEXT;
-- A JSON list.
ALTER TABLE issued_writ ADD COLUMN services TEXT;
CREATE INDEX issued_writ_expires ON issued_writ (expires);

-- An entry that can affect nothing any more may leave the log: an hour after its time, by the machine's own clock.
DROP TRIGGER revocation_is_not_deleted;
CREATE TRIGGER revocation_that_matters_is_not_deleted BEFORE DELETE ON revocation
WHEN OLD.forget_after >= (CAST(strftime('%s', 'now') AS INTEGER) - 3600) * 1000
BEGIN SELECT RAISE(ABORT, 'the revocation log is append-only'); END;

-- Receipts as they were given, byte for byte; the first one stays.
CREATE TABLE receipt (
    seq INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
CREATE TRIGGER receipt_is_not_changed BEFORE UPDATE ON receipt
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;
CREATE TRIGGER receipt_is_not_deleted BEFORE DELETE ON receipt
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;

-- Edges that were removed or whose key was replaced lately: each may have its last lease from any replica.
CREATE TABLE edge_gone (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- What edges acknowledged to one replica, for another that owes a receipt.
CREATE TABLE edge_heard (
    key TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    settings INTEGER NOT NULL
) STRICT;
