"""The error of files that are not what this program writes."""


class FormatError(ValueError):
    """A file that this program did not write, or that was damaged since."""
