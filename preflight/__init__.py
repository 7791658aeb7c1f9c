"""Trusted: may this candidate run, and inside which walls? Everything from base/ is foreign here."""
