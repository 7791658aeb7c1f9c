"""Trusted data: the shard format, the byte table and the corpora; it knows nothing of trials."""
