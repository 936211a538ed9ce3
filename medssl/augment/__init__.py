"""Batched 2D and 3D transforms on the device. Drawing parameters is apart from applying them."""
