"""This package beside plain torch and Hugging Face datasets, in one run, as ratios.

Absolute figures move with the machine and the hour; a ratio of two programs that take turns moves far less.
`python -m benchmarks` runs everything, `python -m benchmarks trainer` one topic.
"""
