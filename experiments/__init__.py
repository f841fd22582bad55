"""The paper's experiments, one file each; run them from the project's folder: `python -m experiments.bars`."""
