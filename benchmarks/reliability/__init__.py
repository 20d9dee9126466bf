"""What must not fail, tried many thousand times."""
