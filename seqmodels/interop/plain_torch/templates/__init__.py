"""Pieces of plain torch, of which exported folders get the ones that their network needs, as one file `model.py`."""
