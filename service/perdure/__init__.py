"""Durable background tasks on PostgreSQL that go on from their checkpoint."""

__version__ = "0.1.0"
