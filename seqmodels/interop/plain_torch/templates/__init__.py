"""Files that are copied into exported folders as `model.py`; each stands alone."""
