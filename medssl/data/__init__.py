"""Scans: reading, describing, preparing, storing and cropping them."""
