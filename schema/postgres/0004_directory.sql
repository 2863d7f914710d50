-- What the enterprise's identity systems say of people and agents: see spec/identity.md.

-- How often edges joined or were removed: a process that knows them as of this version need not read them again.
ALTER TABLE heads ADD COLUMN edge_version BIGINT NOT NULL DEFAULT 0;
