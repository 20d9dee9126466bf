"""Published experiments on long memory and sweeps over seeds: problems, data, models, training and tables."""
