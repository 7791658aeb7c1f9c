"""A stand-in for base/ that needs no torch: a bigram counter with all five phases, for tests of the harness."""
