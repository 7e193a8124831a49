"""PostgreSQL, as source, target and ledger share it."""
