-- Workload identities, policy sets, limits and approvals: see spec/identity.md and spec/policy.md.

-- Approvals by people: see spec/approval.md.
CREATE TABLE approval (
    handle TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    edge TEXT COLLATE "C" NOT NULL,
    -- What would be sent, and who asks, as JSON; their digests; and the request in short.
    asked TEXT COLLATE "C" NOT NULL,
    asker TEXT COLLATE "C" NOT NULL,
    asked_sha256 BYTEA NOT NULL,
    asker_sha256 BYTEA NOT NULL,
    summary TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    -- The end of the state it is in.
    expires BIGINT NOT NULL,
    writ_expires BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    decided_by TEXT COLLATE "C",
    decided_at BIGINT,
    -- A JSON list.
    satisfies TEXT COLLATE "C",
    note TEXT COLLATE "C",
    -- The login of an operator who signed in: what ends it ends the approval.
    login_tenant TEXT COLLATE "C",
    login_subject TEXT COLLATE "C",
    login_session TEXT COLLATE "C",
    login_epoch BIGINT
);
CREATE INDEX approval_asked ON approval (asked_sha256, asker_sha256);
CREATE INDEX approval_agent ON approval (tenant, agent, created);
CREATE INDEX approval_created ON approval (tenant, created);
CREATE INDEX approval_expires ON approval (expires);
-- The groups of an operator who signed in, as the provider named them then: a JSON list.
ALTER TABLE operator_session ADD COLUMN member_of TEXT COLLATE "C" NOT NULL DEFAULT '[]';
GRANT SELECT, INSERT, UPDATE, DELETE ON approval TO writ_authority;

-- Agents that are known by the platform they run on: see spec/agents.md. One that is known by nothing else has no key.
ALTER TABLE agent ALTER COLUMN key DROP NOT NULL;
-- Which workload is which agent: what the issuer calls it, letter by letter.
CREATE TABLE agent_workload (
    issuer TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    -- What else its tokens must say: a JSON object of texts.
    claims TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject),
    FOREIGN KEY (tenant, agent) REFERENCES agent (tenant, name)
);
CREATE INDEX agent_workload_agent ON agent_workload (tenant, agent);
GRANT SELECT, INSERT, DELETE ON agent_workload TO writ_authority;
-- The key that used the id first, where it counts for that one again and again.
ALTER TABLE used_id ADD COLUMN holder TEXT COLLATE "C";
-- Policy sets: every version of every tenant's, never changed. See spec/policy.md.
CREATE TABLE policy_set (
    tenant TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    -- The first version that asks for no group that the ones after it do not.
    outdates BIGINT NOT NULL,
    document TEXT NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, version)
);
-- The groups that the newest version of each tenant's set asks for.
CREATE TABLE policy_group (
    tenant TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    -- Whether who joins it may do less.
    forbids BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, name)
);
GRANT SELECT, INSERT ON policy_set TO writ_authority;
GRANT SELECT, INSERT, DELETE ON policy_group TO writ_authority;
-- Limits: see spec/limits.md. A tenant's, as JSON.
CREATE TABLE limit_set (
    tenant TEXT COLLATE "C" PRIMARY KEY,
    json TEXT COLLATE "C" NOT NULL
);
-- How much of each count all edges hold together, spent or not.
CREATE TABLE limit_count (
    -- The hash of the five columns that follow.
    id BYTEA PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    -- What is counted: another measure or window is another count.
    counted TEXT COLLATE "C" NOT NULL,
    -- Whose requests.
    key TEXT COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    used BIGINT NOT NULL CHECK (used >= 0)
);
CREATE INDEX limit_count_tenant ON limit_count (tenant, name, key, start);
CREATE INDEX limit_count_ends ON limit_count (ends);
-- What one run of an edge holds of a count, and the last question that it was asked with.
CREATE TABLE limit_holding (
    count BYTEA NOT NULL REFERENCES limit_count (id) ON DELETE CASCADE,
    holder TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    held BIGINT NOT NULL CHECK (held >= 0),
    PRIMARY KEY (count, holder)
);
-- Counts leave their table through this alone, an hour after their window, by the server's own clock: whoever could delete
-- one could let it begin anew.
CREATE FUNCTION forget_limit_counts(at_most BIGINT) RETURNS BIGINT
    LANGUAGE sql SECURITY DEFINER SET search_path = writ, pg_temp AS $$
    WITH past AS (
        SELECT id FROM writ.limit_count
        WHERE ends < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - 3600000
        ORDER BY ends LIMIT LEAST(at_most, 10000) FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM writ.limit_count WHERE id IN (SELECT id FROM past) RETURNING 1)
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_limit_counts(BIGINT) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_limit_counts(BIGINT) TO writ_authority;
GRANT SELECT, INSERT, UPDATE ON limit_set, limit_count, limit_holding TO writ_authority;
