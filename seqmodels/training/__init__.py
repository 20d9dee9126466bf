"""One training run per folder."""
