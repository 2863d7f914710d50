-- What the enterprise's identity systems say of people and agents: see spec/identity.md.

-- How often edges joined or were removed: a process that knows them as of this version need not read them again.
ALTER TABLE heads ADD COLUMN edge_version BIGINT NOT NULL DEFAULT 0;

-- Users and groups as identity providers provision them: see spec/scim.md.

-- Who may provision: any number of secrets for each provider.
CREATE TABLE scim_token (
    id TEXT COLLATE "C" PRIMARY KEY,
    provider TEXT COLLATE "C" NOT NULL,
    secret_sha256 BYTEA NOT NULL UNIQUE,
    created BIGINT NOT NULL
);

CREATE TABLE directory_user (
    provider TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    -- The audit record of its creation: the order of lists.
    position BIGINT NOT NULL,
    -- What the provider's tokens call the user, and the same without regard to case where it has none.
    name TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    user_name_key TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    -- Whether the user may be acted for: what the client said last of it.
    active BOOLEAN NOT NULL,
    -- A JSON object.
    attributes TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (provider, id)
);
CREATE UNIQUE INDEX directory_user_name ON directory_user (provider, name_key);
CREATE UNIQUE INDEX directory_user_user_name ON directory_user (provider, user_name_key);
CREATE INDEX directory_user_external_id ON directory_user (provider, external_id);
CREATE INDEX directory_user_position ON directory_user (provider, position);

-- By what else a user can be named: `email:…`, `phone:…`.
CREATE TABLE directory_address (
    provider TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (provider, address, user_id)
);
CREATE INDEX directory_address_user ON directory_address (provider, user_id);

CREATE TABLE directory_group (
    provider TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    version BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    -- The last entry of the revocation log that a change of the group made.
    ended_seq BIGINT,
    PRIMARY KEY (provider, id)
);
CREATE INDEX directory_group_name ON directory_group (provider, name_key);
CREATE INDEX directory_group_external_id ON directory_group (provider, external_id);
CREATE INDEX directory_group_position ON directory_group (provider, position);

CREATE TABLE directory_member (
    provider TEXT COLLATE "C" NOT NULL,
    group_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (provider, group_id, user_id)
);
CREATE INDEX directory_member_user ON directory_member (provider, user_id);

-- Users who get nothing: inactive, deleted, or called otherwise since. Without a user of that name, too.
CREATE TABLE directory_block (
    provider TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    -- The entry of the revocation log that ended what the user had.
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (provider, name_key)
);

-- What was deleted, and the entry of the revocation log by which it ended.
CREATE TABLE directory_gone (
    provider TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (provider, id)
);
GRANT SELECT, INSERT, DELETE ON scim_token, directory_address, directory_member TO writ_authority;
GRANT SELECT, INSERT, UPDATE, DELETE ON directory_user, directory_group, directory_block TO writ_authority;
GRANT SELECT, INSERT ON directory_gone TO writ_authority;

-- Operators: see spec/operators.md. What each may do, and the person behind a secret by the name under which they sign in.
ALTER TABLE operator ADD COLUMN role TEXT COLLATE "C" NOT NULL DEFAULT 'admin';
ALTER TABLE operator ADD COLUMN person TEXT COLLATE "C";
-- The person behind the operator who made the stop, where it is known.
ALTER TABLE emergency_stop ADD COLUMN person TEXT COLLATE "C";

-- Agents: see spec/agents.md. Who answers for one, and what it is for.
ALTER TABLE agent ADD COLUMN owner TEXT COLLATE "C";
ALTER TABLE agent ADD COLUMN purpose TEXT COLLATE "C";
-- Keys that agents had before the one in `agent`. Each counts until its time, and is never given to anybody again.
CREATE TABLE agent_key_before (
    key TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX agent_key_before_agent ON agent_key_before (tenant, agent);
-- When agents last proved who they are, to the minute.
CREATE TABLE agent_seen (
    tenant TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, agent)
);
-- Codes with which agents register themselves.
CREATE TABLE enrolment_code (
    id TEXT COLLATE "C" PRIMARY KEY,
    secret_sha256 BYTEA NOT NULL UNIQUE,
    tenant TEXT COLLATE "C" NOT NULL,
    -- The agent's name, or how it begins.
    name TEXT COLLATE "C" NOT NULL,
    is_prefix BOOLEAN NOT NULL,
    owner TEXT COLLATE "C",
    purpose TEXT COLLATE "C",
    -- What the agent is granted at once, as JSON; null for nothing.
    granted TEXT COLLATE "C",
    uses_left BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    made_by TEXT COLLATE "C" NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON agent_key_before, agent_seen TO writ_authority;
GRANT SELECT, INSERT, UPDATE, DELETE ON enrolment_code TO writ_authority;

-- Operators who sign in with an identity provider: see spec/operators.md. Since when each has the role they had last.
CREATE TABLE operator_person (
    name TEXT COLLATE "C" PRIMARY KEY,
    role TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL
);
-- Their sessions.
CREATE TABLE operator_session (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    -- Whom the provider named, and in which session of its own: what ends that ends this.
    tenant TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    session TEXT COLLATE "C",
    -- The revocation log's head before the provider was asked.
    epoch BIGINT NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    -- Until it is redeemed: what for, the challenge that its verifier must fit, and until when.
    code_sha256 BYTEA UNIQUE,
    challenge BYTEA,
    code_until BIGINT,
    -- From then on.
    secret_sha256 BYTEA UNIQUE
);
GRANT SELECT, INSERT, UPDATE ON operator_person TO writ_authority;
GRANT SELECT, INSERT, UPDATE, DELETE ON operator_session TO writ_authority;
