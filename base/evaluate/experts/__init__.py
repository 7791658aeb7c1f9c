"""Experts beside the model: n-grams and neighbors, what they count and how they are mixed."""
