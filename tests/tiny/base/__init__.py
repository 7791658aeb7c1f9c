"""A stand-in for base/ that needs no torch: a bigram counter with all phases, for tests of the harness."""
