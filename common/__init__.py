"""Code that every other package may use: errors, limits, trial states and printable text. It imports none of them."""
