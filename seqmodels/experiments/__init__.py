"""Published experiments as data, task and table."""
