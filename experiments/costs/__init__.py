"""Calls of LLMs, their prices, and the budget of a run."""
