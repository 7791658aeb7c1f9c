"""Trusted: the loop. Proposals become trials, trials become rows, commits and verdicts."""
