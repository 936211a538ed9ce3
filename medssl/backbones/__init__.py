"""Networks that declare the channels and strides of every level."""
