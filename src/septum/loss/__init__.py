"""The loss: cross entropy and Dice per pixel, and the weight of separation borders."""
