"""The acceptance rule and the noise that it reckons with, as pure functions."""
