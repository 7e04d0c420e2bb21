"""Pixels in and out: image files as arrays with named axes, and their range of grey values."""
