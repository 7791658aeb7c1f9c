"""Covert channels between jobs, measured in bits."""
