"""The network, one file per idea."""
