"""The network, a file per idea."""
