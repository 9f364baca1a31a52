"""Everything that knows SQL: statements, transactions, the schema and its migrations."""
