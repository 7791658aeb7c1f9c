"""One trial, from a proposal to a settled row in the ledger."""
