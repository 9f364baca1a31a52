"""The whole story on a PostgreSQL of its own: a user's handlers, and what must be true."""
