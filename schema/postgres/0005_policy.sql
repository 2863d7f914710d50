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
