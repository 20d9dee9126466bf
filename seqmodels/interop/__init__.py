"""Files of other programs: word vectors, tokenizers, and models of public families."""
