"""What learns from scored text: weights, adapters, a bias."""
