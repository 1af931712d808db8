"""Specs, keys, tables and the wire schema: what the service and the client agree on. pydantic only, no torch."""
