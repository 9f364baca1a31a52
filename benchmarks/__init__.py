"""Measured claims: `python -m benchmarks NAME [--tasks N] [--runs N] [--json]`."""
