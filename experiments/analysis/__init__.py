"""Read-only analysis of a run's ledger."""
