"""Phantom patients: CT of the torso, MR of the head and chest films, made by code from a seed."""

from medssl.data.phantom.cohort import make

__all__ = ["make"]
