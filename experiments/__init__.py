"""The trusted research loop: it turns proposals into trials, and trials into ledger rows, commits and verdicts."""
