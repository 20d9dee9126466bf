"""One training in one folder."""
