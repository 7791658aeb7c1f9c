"""The scorer, and its server for the referee."""
