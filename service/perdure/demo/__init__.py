"""The whole story on a PostgreSQL of its own: handlers as a user writes them, and what must be true."""
