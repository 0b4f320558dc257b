-- What is looked for by something else than its name: at each login, at each refresh, and when rows are thrown away.

CREATE INDEX nonces_by_expiry ON nonces (expires_at);
CREATE INDEX nonces_by_caller ON nonces (wallet, ip);
CREATE INDEX nonces_used ON nonces (used_at) WHERE used_at IS NOT NULL;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_subject ON refresh_tokens (namespace_id, subject);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);
CREATE INDEX namespace_ownership_by_owner ON namespace_ownership (owner_type, owner_id);
CREATE INDEX wallet_api_keys_by_key ON wallet_api_keys (api_key_id);
CREATE INDEX audit_events_by_namespace ON audit_events (namespace_id, id);
CREATE INDEX subscriptions_by_topic ON subscriptions (namespace_id, topic);
