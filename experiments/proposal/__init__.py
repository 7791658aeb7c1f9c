"""Proposals as data: the schema, the edits, and the check that a proposal is new."""
