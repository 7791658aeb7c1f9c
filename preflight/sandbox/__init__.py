"""Run untrusted programs in isolation, within limits, and end them with all their descendants."""
