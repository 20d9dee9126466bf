"""Models to files and back; files are untrusted input."""
