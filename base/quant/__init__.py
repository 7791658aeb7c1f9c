"""Weights to integers and back."""
