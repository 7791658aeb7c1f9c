"""Trusted data: the shard format, the byte table and the corpora. It is independent of trials."""
