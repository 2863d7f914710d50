-- What the enterprise's identity systems say of people and agents: see spec/identity.md.

-- How often edges joined or were removed: a process that knows them as of this version need not read them again.
ALTER TABLE heads ADD COLUMN edge_version INTEGER NOT NULL DEFAULT 0;

-- Users and groups as identity providers provision them: see spec/scim.md.

-- Who may provision: any number of secrets for each provider.
CREATE TABLE scim_token (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE directory_user (
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    -- The audit record of its creation: the order of lists.
    position INTEGER NOT NULL,
    -- What the provider's tokens call the user, and the same without regard to case where it has none.
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    user_name TEXT NOT NULL,
    user_name_key TEXT NOT NULL,
    external_id TEXT,
    -- Whether the user may be acted for: what the client said last of it.
    active INTEGER NOT NULL,
    -- A JSON object.
    attributes TEXT NOT NULL,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (provider, id)
) STRICT;
CREATE UNIQUE INDEX directory_user_name ON directory_user (provider, name_key);
CREATE UNIQUE INDEX directory_user_user_name ON directory_user (provider, user_name_key);
CREATE INDEX directory_user_external_id ON directory_user (provider, external_id);
CREATE INDEX directory_user_position ON directory_user (provider, position);

-- By what else a user can be named: `email:…`, `phone:…`.
CREATE TABLE directory_address (
    provider TEXT NOT NULL,
    address TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (provider, address, user_id)
) STRICT;
CREATE INDEX directory_address_user ON directory_address (provider, user_id);

CREATE TABLE directory_group (
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    external_id TEXT,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    -- The last entry of the revocation log that a change of the group made.
    ended_seq INTEGER,
    PRIMARY KEY (provider, id)
) STRICT;
CREATE INDEX directory_group_name ON directory_group (provider, name_key);
CREATE INDEX directory_group_external_id ON directory_group (provider, external_id);
CREATE INDEX directory_group_position ON directory_group (provider, position);

CREATE TABLE directory_member (
    provider TEXT NOT NULL,
    group_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (provider, group_id, user_id)
) STRICT;
CREATE INDEX directory_member_user ON directory_member (provider, user_id);

-- Users who get nothing: inactive, deleted, or called otherwise since. Without a user of that name, too.
CREATE TABLE directory_block (
    provider TEXT NOT NULL,
    name_key TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The entry of the revocation log that ended what the user had.
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (provider, name_key)
) STRICT;

-- What was deleted, and the entry of the revocation log by which it ended.
CREATE TABLE directory_gone (
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (provider, id)
) STRICT;

-- Operators: see spec/operators.md. What each may do, and the person behind a secret by the name under which they sign in.
ALTER TABLE operator ADD COLUMN role TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE operator ADD COLUMN person TEXT;
-- The person behind the operator who made the stop, where it is known.
ALTER TABLE emergency_stop ADD COLUMN person TEXT;

-- Agents: see spec/agents.md. Who answers for one, and what it is for.
ALTER TABLE agent ADD COLUMN owner TEXT;
ALTER TABLE agent ADD COLUMN purpose TEXT;
-- Keys that agents had before the one in `agent`. Each counts until its time, and is never given to anybody again.
CREATE TABLE agent_key_before (
    key TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX agent_key_before_agent ON agent_key_before (tenant, agent);
-- When agents last proved who they are, to the minute.
CREATE TABLE agent_seen (
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent)
) STRICT;
-- Codes with which agents register themselves.
CREATE TABLE enrolment_code (
    id TEXT PRIMARY KEY,
    secret_sha256 BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    -- The agent's name, or how it begins.
    name TEXT NOT NULL,
    is_prefix INTEGER NOT NULL,
    owner TEXT,
    purpose TEXT,
    -- What the agent is granted at once, as JSON; null for nothing.
    granted TEXT,
    uses_left INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    made_by TEXT NOT NULL
) STRICT;

-- Operators who sign in with an identity provider: see spec/operators.md. Since when each has the role they had last.
CREATE TABLE operator_person (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
-- Their sessions.
CREATE TABLE operator_session (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    provider TEXT NOT NULL,
    -- Whom the provider named, and in which session of its own: what ends that ends this.
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    session TEXT,
    -- The revocation log's head before the provider was asked.
    epoch INTEGER NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    -- Until it is redeemed: what for, the challenge that its verifier must fit, and until when.
    code_sha256 BLOB UNIQUE,
    challenge BLOB,
    code_until INTEGER,
    -- From then on.
    secret_sha256 BLOB UNIQUE
) STRICT;
