-- Values are sealed (AES-256-GCM), have a validator that changes with each write, and may end at a time.
-- SQL cannot seal: the gateway does so at its start with the rows of form 0, and reads no other than sealed ones. The
-- columns are renamed, so that a gateway from before fails on them and never gives a sealed value for the value.

ALTER TABLE kv_storage RENAME COLUMN value TO sealed;

ALTER TABLE kv_storage RENAME COLUMN cid TO sealed_cid;

ALTER TABLE kv_storage ADD COLUMN form INTEGER NOT NULL DEFAULT 0 CHECK (form IN (0, 1)); -- 0: as it was given; 1: sealed

ALTER TABLE kv_storage ADD COLUMN etag TEXT NOT NULL DEFAULT '';

ALTER TABLE kv_storage ADD COLUMN expires_at_ms INTEGER; -- NULL: never

UPDATE kv_storage SET etag = lower(hex(randomblob(12)));

CREATE INDEX kv_storage_by_form ON kv_storage (form) WHERE form = 0;

CREATE INDEX kv_storage_by_expiry ON kv_storage (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

CREATE TABLE value_sealing (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  key_check BLOB, -- made of the master key; tells whether it is the right one, and nothing else of it
  may_hold_plain INTEGER NOT NULL CHECK (may_hold_plain IN (0, 1)) -- 1: values from before may still be in free pages
) STRICT;

-- A gateway that was never asked anything has never held a value.
INSERT INTO value_sealing (id, may_hold_plain)
SELECT 1, EXISTS (SELECT 1 FROM kv_storage) OR EXISTS (SELECT 1 FROM request_logs);
