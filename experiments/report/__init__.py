"""The morning page: a run as one folder of HTML that opens from disk, without a server or a network."""
