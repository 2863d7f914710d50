-- Added, never edited once landed: a change is a new file.
-- Runs with `search_path = writ, pg_temp`, as the role that will own everything. Names sort by their bytes, as on SQLite.
-- Times are milliseconds since 1970-01-01T00:00:00Z; names and ids are in their text form.

-- One row: where the logs end. Every transaction that writes an audit record locks it first, so that `position` and
-- `revocation_seq` grow in commit order.
CREATE TABLE heads (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    revocation_seq BIGINT NOT NULL,
    catalog_version BIGINT NOT NULL,
    audit_position BIGINT NOT NULL,
    audit_seq BIGINT NOT NULL,
    audit_hash TEXT COLLATE "C" NOT NULL
);
INSERT INTO heads (one, revocation_seq, catalog_version, audit_position, audit_seq, audit_hash)
VALUES (1, 0, 0, 0, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE installation (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    issuer TEXT COLLATE "C" NOT NULL,
    check_kek TEXT COLLATE "C" NOT NULL,
    check_wrapped_key TEXT COLLATE "C" NOT NULL,
    check_ciphertext TEXT COLLATE "C" NOT NULL,
    authority_key TEXT COLLATE "C" NOT NULL,
    seed_kek TEXT COLLATE "C" NOT NULL,
    seed_wrapped_key TEXT COLLATE "C" NOT NULL,
    seed_ciphertext TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE root_key (
    id BIGINT PRIMARY KEY,
    key TEXT COLLATE "C" NOT NULL UNIQUE,
    seed_kek TEXT COLLATE "C" NOT NULL,
    seed_wrapped_key TEXT COLLATE "C" NOT NULL,
    seed_ciphertext TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    signs_from BIGINT NOT NULL,
    until BIGINT
);

CREATE TABLE operator (
    name TEXT COLLATE "C" PRIMARY KEY,
    secret_sha256 BYTEA NOT NULL UNIQUE,
    created BIGINT NOT NULL
);

CREATE TABLE agent (
    tenant TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL UNIQUE,
    -- The entry of the revocation log that disabled it.
    disabled_seq BIGINT,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE agent_grant (
    id TEXT COLLATE "C" PRIMARY KEY,
    -- The audit record of its addition: the order of grants.
    position BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    capabilities TEXT COLLATE "C" NOT NULL,
    ttl_s_max BIGINT NOT NULL,
    depth_max BIGINT NOT NULL,
    bearer BOOLEAN NOT NULL,
    proof_covers TEXT COLLATE "C" NOT NULL,
    FOREIGN KEY (tenant, agent) REFERENCES agent (tenant, name)
);
CREATE INDEX agent_grant_agent ON agent_grant (tenant, agent);

CREATE TABLE issued_writ (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    grants TEXT COLLATE "C" NOT NULL,
    issued BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    epoch BIGINT NOT NULL
);

CREATE TABLE used_id (
    id BYTEA PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE INDEX used_id_until ON used_id (until);

CREATE TABLE service (
    name TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    json TEXT COLLATE "C" NOT NULL
);

CREATE TABLE credential (
    tenant TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    -- Empty for one that the tenant shares.
    subject TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    kek TEXT COLLATE "C" NOT NULL,
    wrapped_key TEXT COLLATE "C" NOT NULL,
    ciphertext TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (tenant, name, subject)
);
CREATE INDEX credential_kek ON credential (kek);

-- The last version that each name ever had; outlives the credential.
CREATE TABLE credential_version (
    tenant TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, name, subject)
);

CREATE TABLE revocation (
    seq BIGINT PRIMARY KEY,
    target TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    forget_after BIGINT NOT NULL,
    idempotency_key TEXT COLLATE "C" UNIQUE
);
CREATE INDEX revocation_target ON revocation (target, forget_after);
CREATE INDEX revocation_forget_after ON revocation (forget_after);

CREATE TABLE join_ticket (
    name TEXT COLLATE "C" PRIMARY KEY,
    secret_sha256 BYTEA NOT NULL UNIQUE,
    audience TEXT COLLATE "C" NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE edge (
    name TEXT COLLATE "C" PRIMARY KEY,
    key TEXT COLLATE "C" NOT NULL UNIQUE,
    audience TEXT COLLATE "C" NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    nonce BOOLEAN NOT NULL,
    joined BIGINT NOT NULL
);
CREATE INDEX edge_origin ON edge (origin);

-- Where each edge's chain ends; the authority's own stands in `heads`.
CREATE TABLE audit_chain (
    source TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL
);

CREATE TABLE audit_record (
    position BIGINT PRIMARY KEY,
    source TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    previous TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    -- Taken from the event, to search by.
    agent TEXT COLLATE "C",
    object TEXT COLLATE "C",
    subject TEXT COLLATE "C",
    service TEXT COLLATE "C",
    request TEXT COLLATE "C",
    verdict TEXT COLLATE "C",
    UNIQUE (source, seq)
);
CREATE INDEX audit_record_at ON audit_record (at);
CREATE INDEX audit_record_agent ON audit_record (agent, position) WHERE agent IS NOT NULL;
CREATE INDEX audit_record_object ON audit_record (object, position) WHERE object IS NOT NULL;
CREATE INDEX audit_record_subject ON audit_record (subject, position) WHERE subject IS NOT NULL;
CREATE INDEX audit_record_service ON audit_record (service, position) WHERE service IS NOT NULL;
CREATE INDEX audit_record_request ON audit_record (request, position) WHERE request IS NOT NULL;
CREATE INDEX audit_record_verdict ON audit_record (verdict, position) WHERE verdict IS NOT NULL;

-- The blocks of a decision's chain.
CREATE TABLE audit_block (
    block TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (block, position)
);

CREATE TABLE audit_checkpoint (
    source TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    signature TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (source, seq, signature)
);

-- Wakes every authority when the transaction commits.
CREATE FUNCTION announce_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('writ_revocation', NEW.seq::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER revocation_is_announced AFTER INSERT ON revocation
    FOR EACH ROW EXECUTE FUNCTION announce_revocation();

-- The authority works as `writ_authority`, which can add to the logs and never change or shorten them.
-- Roles belong to the server, so another database may have created it at this very moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'writ_authority') THEN
        CREATE ROLE writ_authority NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'this role may not create roles: create `writ_authority` first (spec/store.md)'
            USING ERRCODE = 'insufficient_privilege';
END
$$;
GRANT USAGE ON SCHEMA writ TO writ_authority;
GRANT SELECT ON schema_version TO writ_authority;
GRANT SELECT, INSERT ON revocation, audit_record, audit_block, audit_checkpoint, issued_writ, credential_version
    TO writ_authority;
GRANT SELECT, INSERT, UPDATE ON installation, root_key, agent, audit_chain TO writ_authority;
GRANT SELECT, INSERT ON operator TO writ_authority;
GRANT SELECT, UPDATE ON heads TO writ_authority;
GRANT UPDATE (version) ON credential_version TO writ_authority;
GRANT SELECT, INSERT, DELETE ON agent_grant TO writ_authority;
GRANT SELECT, INSERT, UPDATE, DELETE ON used_id, service, credential, join_ticket, edge TO writ_authority;
