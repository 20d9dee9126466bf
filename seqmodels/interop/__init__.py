"""Weights, vectors and tokenizers of other programs, in and out."""
