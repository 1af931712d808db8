"""Specs, keys, tables and the wire schema, shared by service and client. Needs only pydantic."""
