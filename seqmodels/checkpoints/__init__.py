"""Models to files and back; nothing that a file says is trusted."""
