"""Figures, and the self-contained page they stand in."""
