"""The HTML report of a run: one folder that a browser opens from disk, without a server or a network."""
