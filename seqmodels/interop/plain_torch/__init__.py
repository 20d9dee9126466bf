"""Models as plain modules of torch, in a folder that needs nothing of this package."""
