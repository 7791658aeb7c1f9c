"""The run's SQLite file, and its mirror in git."""
