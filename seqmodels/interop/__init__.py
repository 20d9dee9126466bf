"""Files of other programs, in and out: models, tokenizers and word vectors; and engines in place of torch."""
