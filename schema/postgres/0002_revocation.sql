-- What a provable revocation keeps: see spec/revocation.md.

-- The log's head when the version was stored: a later `credential:` entry kills it. 0 for what a version of writ stored that
-- does not know of it, so that any such entry does.
ALTER TABLE credential ADD COLUMN stored_epoch BIGINT NOT NULL DEFAULT 0;
