"""Every random draw is a function of (seed, purpose, index), never of history or worker count."""

import hashlib

import numpy as np


def key(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit integer that names one draw: stable over machines, processes and versions."""
    text = ":".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """NumPy's counter-based Philox generator for one draw."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *index)))


def torch_generator(seed: int, purpose: str, *index: int):
    """A CPU `torch.Generator` for one draw; draw on the CPU, then move, so that devices agree."""
    import torch

    return torch.Generator().manual_seed(key(seed, purpose, *index))
