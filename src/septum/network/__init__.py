"""Networks: the U-Net of the paper, and the two systems that it is compared with."""
