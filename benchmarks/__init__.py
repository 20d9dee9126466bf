"""This package beside plain torch and Hugging Face datasets, in one run, as ratios.

Absolute figures change with the machine and the hour; the ratio of two programs that take turns changes far less.
`python -m benchmarks` runs everything, `python -m benchmarks trainer` one topic.
"""
