"""One measurement: train, pack and score a bundle with one seed."""
