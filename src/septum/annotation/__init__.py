"""What people drew: pairs of images and labels, what label values mean, and made-up ones."""
