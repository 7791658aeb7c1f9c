"""A candidate's source tree as data: reading, checking, bundling and releasing it."""
