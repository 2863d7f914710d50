-- Added, never edited once landed: a change is a new file.
-- Times are milliseconds since 1970-01-01T00:00:00Z; names and ids are in their text form.

-- One row: where the logs end. Every transaction that writes an audit record locks it first, so that `position` and
-- `revocation_seq` grow in commit order.
CREATE TABLE heads (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revocation_seq INTEGER NOT NULL,
    catalog_version INTEGER NOT NULL,
    audit_position INTEGER NOT NULL,
    audit_seq INTEGER NOT NULL,
    audit_hash TEXT NOT NULL
) STRICT;
INSERT INTO heads (one, revocation_seq, catalog_version, audit_position, audit_seq, audit_hash)
VALUES (1, 0, 0, 0, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE installation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    issuer TEXT NOT NULL,
    check_kek TEXT NOT NULL,
    check_wrapped_key TEXT NOT NULL,
    check_ciphertext TEXT NOT NULL,
    authority_key TEXT NOT NULL,
    seed_kek TEXT NOT NULL,
    seed_wrapped_key TEXT NOT NULL,
    seed_ciphertext TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE root_key (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    seed_kek TEXT NOT NULL,
    seed_wrapped_key TEXT NOT NULL,
    seed_ciphertext TEXT NOT NULL,
    created INTEGER NOT NULL,
    signs_from INTEGER NOT NULL,
    until INTEGER
) STRICT;

CREATE TABLE operator (
    name TEXT PRIMARY KEY,
    secret_sha256 BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE agent (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    -- The entry of the revocation log that disabled it.
    disabled_seq INTEGER,
    created INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

CREATE TABLE agent_grant (
    id TEXT PRIMARY KEY,
    -- The audit record of its addition: the order of grants.
    position INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    subject TEXT,
    capabilities TEXT NOT NULL,
    ttl_s_max INTEGER NOT NULL,
    depth_max INTEGER NOT NULL,
    bearer INTEGER NOT NULL,
    proof_covers TEXT NOT NULL,
    FOREIGN KEY (tenant, agent) REFERENCES agent (tenant, name)
) STRICT;
CREATE INDEX agent_grant_agent ON agent_grant (tenant, agent);

CREATE TABLE issued_writ (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    subject TEXT,
    grants TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE used_id (
    id BLOB PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX used_id_until ON used_id (until);

CREATE TABLE service (
    name TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;

CREATE TABLE credential (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Empty for one that the tenant shares.
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    kek TEXT NOT NULL,
    wrapped_key TEXT NOT NULL,
    ciphertext TEXT NOT NULL,
    version INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, subject)
) STRICT;
CREATE INDEX credential_kek ON credential (kek);

-- The last version that each name ever had; outlives the credential.
CREATE TABLE credential_version (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, subject)
) STRICT;

CREATE TABLE revocation (
    seq INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    at INTEGER NOT NULL,
    forget_after INTEGER NOT NULL,
    idempotency_key TEXT UNIQUE
) STRICT;
CREATE INDEX revocation_target ON revocation (target, forget_after);
CREATE INDEX revocation_forget_after ON revocation (forget_after);

CREATE TABLE join_ticket (
    name TEXT PRIMARY KEY,
    secret_sha256 BLOB NOT NULL UNIQUE,
    audience TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE edge (
    name TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    audience TEXT NOT NULL,
    origin TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    joined INTEGER NOT NULL
) STRICT;
CREATE INDEX edge_origin ON edge (origin);

-- Where each edge's chain ends; the authority's own stands in `heads`.
CREATE TABLE audit_chain (
    source TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;

CREATE TABLE audit_record (
    position INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    -- Taken from the event, to search by.
    agent TEXT,
    object TEXT,
    subject TEXT,
    service TEXT,
    request TEXT,
    verdict TEXT,
    UNIQUE (source, seq)
) STRICT;
CREATE INDEX audit_record_at ON audit_record (at);
CREATE INDEX audit_record_agent ON audit_record (agent, position) WHERE agent IS NOT NULL;
CREATE INDEX audit_record_object ON audit_record (object, position) WHERE object IS NOT NULL;
CREATE INDEX audit_record_subject ON audit_record (subject, position) WHERE subject IS NOT NULL;
CREATE INDEX audit_record_service ON audit_record (service, position) WHERE service IS NOT NULL;
CREATE INDEX audit_record_request ON audit_record (request, position) WHERE request IS NOT NULL;
CREATE INDEX audit_record_verdict ON audit_record (verdict, position) WHERE verdict IS NOT NULL;

-- The blocks of a decision's chain.
CREATE TABLE audit_block (
    block TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (block, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_checkpoint (
    source TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at INTEGER NOT NULL,
    key TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (source, seq, signature)
) STRICT;

CREATE TRIGGER revocation_is_not_changed BEFORE UPDATE ON revocation
BEGIN SELECT RAISE(ABORT, 'the revocation log is append-only'); END;
CREATE TRIGGER revocation_is_not_deleted BEFORE DELETE ON revocation
BEGIN SELECT RAISE(ABORT, 'the revocation log is append-only'); END;
CREATE TRIGGER audit_record_is_not_changed BEFORE UPDATE ON audit_record
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_record_is_not_deleted BEFORE DELETE ON audit_record
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_block_is_not_changed BEFORE UPDATE ON audit_block
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_block_is_not_deleted BEFORE DELETE ON audit_block
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_checkpoint_is_not_changed BEFORE UPDATE ON audit_checkpoint
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_checkpoint_is_not_deleted BEFORE DELETE ON audit_checkpoint
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
