"""Augmentation: parameters are sampled by one function and applied by another."""
