-- The gateway's own tables: tenants, their keys, their values, and what was asked of the gateway.
-- A `created_at` is ISO 8601 in UTC with milliseconds, as the seed's tables have it; `…_at_ms` is milliseconds since 1970.

CREATE TABLE namespaces (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (length(name) > 0),
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

INSERT INTO namespaces (name) VALUES ('default');

CREATE TABLE api_keys (
  id INTEGER PRIMARY KEY,
  key_hash TEXT NOT NULL UNIQUE CHECK (length(key_hash) = 64), -- SHA-256 of the key, hex; the key itself is never stored
  name TEXT NOT NULL DEFAULT '',
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  scopes TEXT NOT NULL DEFAULT '', -- separated by spaces
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  last_used_at TEXT
) STRICT;

CREATE INDEX api_keys_by_namespace ON api_keys (namespace_id);

CREATE TABLE namespace_ownership (
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  owner_type TEXT NOT NULL, -- api_key or wallet
  owner_id TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  PRIMARY KEY (namespace_id, owner_type, owner_id)
) STRICT, WITHOUT ROWID;

-- Not WITHOUT ROWID: rows of some kilobytes are then three times slower to read and write (README.md has the figures).
CREATE TABLE kv_storage (
  namespace TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB, -- the value itself, or NULL when it is stored as the blob `cid`
  cid TEXT,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  created_at_ms INTEGER NOT NULL,
  updated_at_ms INTEGER NOT NULL,
  PRIMARY KEY (namespace, key),
  CHECK ((value IS NULL) <> (cid IS NULL))
) STRICT;

CREATE TABLE request_logs (
  id INTEGER PRIMARY KEY,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  status_code INTEGER NOT NULL,
  bytes_out INTEGER NOT NULL DEFAULT 0,
  duration_ms INTEGER NOT NULL DEFAULT 0,
  ip TEXT,
  api_key_id INTEGER REFERENCES api_keys (id) ON DELETE SET NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX request_logs_by_api_key ON request_logs (api_key_id);
CREATE INDEX request_logs_by_time ON request_logs (created_at);
