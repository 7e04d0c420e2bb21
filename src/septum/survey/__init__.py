"""What is in a set of annotated images, and what is wrong with it."""
