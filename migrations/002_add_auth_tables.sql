-- Wallets that log in: their nonces, sessions, apps and keys, and what was done with them. Secrets are here as SHA-256 only.

CREATE TABLE apps (
  id INTEGER PRIMARY KEY,
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  app_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  public_key TEXT NOT NULL,
  wallet TEXT,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  UNIQUE (namespace_id, app_id)
) STRICT;

-- The namespace by name: a stranger's challenge must not make a row of `namespaces`.
CREATE TABLE nonces (
  id INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  wallet TEXT NOT NULL,
  nonce TEXT NOT NULL,
  purpose TEXT NOT NULL DEFAULT '',
  ip TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  expires_at TEXT NOT NULL,
  used_at TEXT,
  UNIQUE (namespace, wallet, nonce)
) STRICT;

CREATE TABLE subscriptions (
  id INTEGER PRIMARY KEY,
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  app_id TEXT NOT NULL,
  topic TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE refresh_tokens (
  id INTEGER PRIMARY KEY,
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  subject TEXT NOT NULL,
  token_hash TEXT NOT NULL UNIQUE CHECK (length(token_hash) = 64), -- SHA-256, hex
  family TEXT NOT NULL, -- all tokens that came from one login: one used twice ends them all
  audience TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  expires_at TEXT NOT NULL,
  revoked_at TEXT
) STRICT;

CREATE TABLE audit_events (
  id INTEGER PRIMARY KEY,
  namespace_id INTEGER REFERENCES namespaces (id) ON DELETE SET NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  resource TEXT NOT NULL DEFAULT '',
  ip TEXT NOT NULL DEFAULT '',
  metadata TEXT NOT NULL DEFAULT '{}',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE wallet_api_keys (
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  wallet TEXT NOT NULL,
  api_key_id INTEGER NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
  plan TEXT NOT NULL DEFAULT 'free',
  sealed_key BLOB NOT NULL, -- the key for its wallet to ask for again, sealed with what is not in this file
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  PRIMARY KEY (namespace_id, wallet)
) STRICT, WITHOUT ROWID;

-- Access tokens that end before their time: `jti` of one, or `sid` of a whole login.
CREATE TABLE revoked_tokens (
  id TEXT NOT NULL PRIMARY KEY,
  expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A token carries the epoch it was made in; "log out everywhere" begins the next one.
CREATE TABLE subject_epochs (
  namespace_id INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
  subject TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  PRIMARY KEY (namespace_id, subject)
) STRICT, WITHOUT ROWID;

-- Grows with every change that may end somebody's access, so that gateways know when what they remember is old.
-- By triggers: no writer can forget it.
CREATE TABLE auth_revision (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  revision INTEGER NOT NULL
) STRICT;

INSERT INTO auth_revision (id, revision) VALUES (1, 1);

CREATE TRIGGER auth_revision_of_revoked AFTER INSERT ON revoked_tokens BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;

CREATE TRIGGER auth_revision_of_new_epochs AFTER INSERT ON subject_epochs BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;

CREATE TRIGGER auth_revision_of_epochs AFTER UPDATE ON subject_epochs BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;

CREATE TRIGGER auth_revision_of_lost_keys AFTER DELETE ON api_keys BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;

CREATE TRIGGER auth_revision_of_changed_keys AFTER UPDATE OF key_hash, namespace_id, scopes ON api_keys
WHEN old.key_hash IS NOT new.key_hash OR old.namespace_id IS NOT new.namespace_id OR old.scopes IS NOT new.scopes BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;

CREATE TRIGGER auth_revision_of_owners AFTER INSERT ON namespace_ownership BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;

CREATE TRIGGER auth_revision_of_lost_owners AFTER DELETE ON namespace_ownership BEGIN
  UPDATE auth_revision SET revision = revision + 1;
END;
