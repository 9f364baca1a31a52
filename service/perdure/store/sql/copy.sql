-- The fastest way in: rows straight into the ledger, one admission for all; no ids, no unique keys.
copy perdure.tasks (name, metadata, queue, priority, run_at, tags) from stdin
