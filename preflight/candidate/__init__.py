"""A candidate's phases as sandboxed jobs: describe, train, pack, score."""
