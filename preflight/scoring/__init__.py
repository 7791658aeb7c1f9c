"""The scoring protocol, and the audit of its losses."""
