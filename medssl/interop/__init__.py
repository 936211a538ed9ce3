"""Weights of other libraries, taken over and passed on, with an account of every parameter."""
