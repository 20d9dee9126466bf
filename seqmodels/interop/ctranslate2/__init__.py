"""Transformers as models of CTranslate2, and generation and translation by it."""
