"""Mutants of schedules, branches, self-distillation, profiles and trackers."""

TESTS = [
    "tests/training/test_schedule.py",
    "tests/training/test_branch.py",
    "tests/methods/test_self_distillation.py",
    "tests/test_stopwatch.py",
    "tests/training/test_profile.py",
    "tests/training/test_trackers.py",
]
MUTANTS = [
    ("medssl/training/schedule.py", "(step + 1 - branch.step)", "(step - branch.step)"),
    ("medssl/training/schedule.py", "(optim.constant, optim.cooldown)", "(optim.constant, steps)"),
    ("medssl/training/schedule.py", "return (step + 1) / warmup", "return step / warmup"),
    ("medssl/training/schedule.py", "step, steps = step - branch.step, steps - branch.step", "pass"),
    ("medssl/training/branch.py", "share = max(g[\"lr\"] / (", "share = max(1 / ("),
    ("medssl/training/branch.py", "if begun(out) and kept.is_dir() else", "if False else"),
    ("medssl/training/branch.py", "if begun(out) or kept == self.run:", "if True:"),
    ("medssl/training/branch.py", 'SAME = ("method.", "optim.",', 'SAME = ("optim.",'),
    ("medssl/methods/self_distillation.py", "self.teacher.eval()\n        return self", "return self"),
    ("medssl/methods/self_distillation.py", ".square().sum(-1).mean()", ".square().mean()"),
    ("medssl/methods/self_distillation.py", "self.weight * distance", "distance"),
    ("medssl/methods/self_distillation.py", "self.teacher = teacher_of(backbone).eval()", "self.backbone = backbone"),
    ("medssl/stopwatch.py", "now - self.at - self.inside", "now - self.at"),
    ("medssl/stopwatch.py", "self.inside = outer + spent", "self.inside = outer"),
    ("medssl/stopwatch.py", "if _now is None or _now.rests:", "if _now is None:"),
    ("medssl/training/profile.py", "watch.inside += seconds", "pass"),
    ("medssl/training/trackers.py", 'mode="offline"', 'mode="online"'),
    ("medssl/training/trackers.py", "purge_step=first", "purge_step=None"),
    ("medssl/training/log.py", "if v is not None", "if True"),
]  # fmt: skip
