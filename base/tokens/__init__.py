"""Training data: token shards, window orders and batches."""
