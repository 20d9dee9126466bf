"""What is promised when things go wrong, put to the test: `python -m benchmarks.reliability`."""
