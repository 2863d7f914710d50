-- Workload identities, policy sets, limits and approvals: see spec/identity.md and spec/policy.md.

-- Approvals by people: see spec/approval.md.
CREATE TABLE approval (
    handle TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    subject TEXT,
    edge TEXT NOT NULL,
    -- What would be sent, and who asks, as JSON; their digests; and the request in short.
    asked TEXT NOT NULL,
    asker TEXT NOT NULL,
    asked_sha256 BLOB NOT NULL,
    asker_sha256 BLOB NOT NULL,
    summary TEXT NOT NULL,
    created INTEGER NOT NULL,
    -- The end of the state it is in.
    expires INTEGER NOT NULL,
    writ_expires INTEGER NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_at INTEGER,
    -- A JSON list.
    satisfies TEXT,
    note TEXT,
    -- The login of an operator who signed in: what ends it ends the approval.
    login_tenant TEXT,
    login_subject TEXT,
    login_session TEXT,
    login_epoch INTEGER
) STRICT;
CREATE INDEX approval_asked ON approval (asked_sha256, asker_sha256);
CREATE INDEX approval_agent ON approval (tenant, agent, created);
CREATE INDEX approval_created ON approval (tenant, created);
CREATE INDEX approval_expires ON approval (expires);
-- The groups of an operator who signed in, as the provider named them then: a JSON list.
ALTER TABLE operator_session ADD COLUMN member_of TEXT NOT NULL DEFAULT '[]';

-- Agents that are known by the platform they run on: see spec/agents.md. One that is known by nothing else has no key. SQLite
-- cannot take a NOT NULL away, so the table is made anew, and with it the one that refers to it.
CREATE TABLE agent_anew (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT UNIQUE,
    -- The entry of the revocation log that disabled it.
    disabled_seq INTEGER,
    created INTEGER NOT NULL,
    owner TEXT,
    purpose TEXT,
    PRIMARY KEY (tenant, name)
) STRICT;
INSERT INTO agent_anew (tenant, name, key, disabled_seq, created, owner, purpose)
    SELECT tenant, name, key, disabled_seq, created, owner, purpose FROM agent;
CREATE TABLE agent_grant_anew (
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
    -- The group for whose users it is; null for one user's, and for the agent's own.
    user_group TEXT,
    FOREIGN KEY (tenant, agent) REFERENCES agent_anew (tenant, name)
) STRICT;
INSERT INTO agent_grant_anew (id, position, tenant, agent, subject, capabilities, ttl_s_max, depth_max, bearer, proof_covers, user_group)
    SELECT id, position, tenant, agent, subject, capabilities, ttl_s_max, depth_max, bearer, proof_covers, user_group FROM agent_grant;
DROP TABLE agent_grant;
DROP TABLE agent;
ALTER TABLE agent_anew RENAME TO agent;
ALTER TABLE agent_grant_anew RENAME TO agent_grant;
CREATE INDEX agent_grant_agent ON agent_grant (tenant, agent);

-- Which workload is which agent: what the issuer calls it, letter by letter.
CREATE TABLE agent_workload (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    -- What else its tokens must say: a JSON object of texts.
    claims TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject),
    FOREIGN KEY (tenant, agent) REFERENCES agent (tenant, name)
) STRICT;
CREATE INDEX agent_workload_agent ON agent_workload (tenant, agent);
-- The key that used the id first, where it counts for that one again and again.
ALTER TABLE used_id ADD COLUMN holder TEXT;
-- Policy sets: every version of every tenant's, never changed. See spec/policy.md.
CREATE TABLE policy_set (
    tenant TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- The first version that asks for no group that the ones after it do not.
    outdates INTEGER NOT NULL,
    document TEXT NOT NULL,
    author TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT;
-- The groups that the newest version of each tenant's set asks for.
CREATE TABLE policy_group (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Whether who joins it may do less.
    forbids INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

-- Limits: see spec/limits.md. A tenant's, as JSON.
CREATE TABLE limit_set (
    tenant TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;
-- How much of each count all edges hold together, spent or not.
CREATE TABLE limit_count (
    -- The hash of the five columns that follow.
    id BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    -- What is counted: another measure or window is another count.
    counted TEXT NOT NULL,
    -- Whose requests.
    key TEXT NOT NULL,
    start INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    used INTEGER NOT NULL CHECK (used >= 0)
) STRICT;
CREATE INDEX limit_count_tenant ON limit_count (tenant, name, key, start);
CREATE INDEX limit_count_ends ON limit_count (ends);
-- What one run of an edge holds of a count, and the last question that it was asked with.
CREATE TABLE limit_holding (
    count BLOB NOT NULL REFERENCES limit_count (id) ON DELETE CASCADE,
    holder TEXT NOT NULL,
    seq INTEGER NOT NULL,
    held INTEGER NOT NULL CHECK (held >= 0),
    PRIMARY KEY (count, holder)
) STRICT;
