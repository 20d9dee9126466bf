"""Files of other programs: word vectors."""
