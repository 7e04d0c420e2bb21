"""Training: annotated images in, a run folder with a model out."""
