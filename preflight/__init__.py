"""Checks of a candidate and the sandbox it runs in. This code is trusted; everything from base/ is untrusted."""
