-- What a user's identity adds: see spec/identity.md.

-- The session at the identity provider that a writ was issued in.
ALTER TABLE issued_writ ADD COLUMN session TEXT COLLATE "C";
CREATE INDEX issued_writ_subject ON issued_writ (tenant, subject, expires) WHERE subject IS NOT NULL;

-- The group for whose users a grant is; null for one user's, and for the agent's own.
ALTER TABLE agent_grant ADD COLUMN user_group TEXT COLLATE "C";
