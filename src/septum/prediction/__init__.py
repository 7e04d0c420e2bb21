"""Prediction: from an image of any size to probabilities and masks, without a seam."""
