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
