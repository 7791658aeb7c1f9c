"""C sources of base/native.py (locked)."""
