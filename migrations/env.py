"""Runs migrations for `perdure.store.migrate`: one schema, one transaction, one lock."""

from __future__ import annotations

from alembic import context

from perdure.store.migrate import run_file, write_settings

attributes = context.config.attributes

context.configure(
    connection=attributes["connection"],
    dialect_name="postgresql",
    # Offline, the default style would double each percent sign of the schema's name.
    dialect_opts={"paramstyle": "named"},
    literal_binds=context.is_offline_mode(),
    version_table="schema_version",
    version_table_schema=attributes["schema_name"],
    transaction_per_migration=False,
)
with context.begin_transaction():
    run_file("begin.sql")
    run_file("schema.sql")
    context.run_migrations()
    write_settings(attributes["limits"])
    run_file("grants.sql")
