import numpy as np
import pandas as pd

from medssl.reports.study.told import WHOLE

DICE = "dice, mean of classes"


def told(mean, seed):
    draw = np.random.default_rng(seed).normal(0, 0.02, 30)
    return pd.DataFrame({"id": [f"c{i}" for i in range(30)], "patient": [f"p{i}" for i in range(30)],
                         "class": "ball", "dice": mean + draw})  # fmt: skip


def cost_of(arms):
    """The table of costs of arms by name: minutes of pretraining, its steps, and those asked for."""
    table = pd.DataFrame([(arm, *spent) for arm, spent in arms.items()],
                         columns=["arm", "pretraining, minutes", "pretraining, steps", WHOLE])  # fmt: skip
    return table.astype({"pretraining, steps": "Int64", WHOLE: "Int64"}).assign(kWh=None)
