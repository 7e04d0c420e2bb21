"""Networks: the U-Net of the paper and, later, the systems it is compared with."""
