"""Mutants of Barlow Twins and VICReg."""

TESTS = [
    "tests/methods/test_barlow.py",
    "tests/methods/test_vicreg.py",
    "tests/methods/parts/test_correlation.py",
]
MUTANTS = [
    (
        "medssl/methods/barlow.py",
        "return (1 - c.diagonal()).square().sum(), off_diagonal(c).square().sum()",
        "return (1 + c.diagonal()).square().sum(), off_diagonal(c).square().sum()",
    ),
    (
        "medssl/methods/barlow.py",
        "return (1 - c.diagonal()).square().sum(), off_diagonal(c).square().sum()",
        "return (1 - c.diagonal()).square().mean(), off_diagonal(c).square().sum()",
    ),
    (
        "medssl/methods/barlow.py",
        "return (1 - c.diagonal()).square().sum(), off_diagonal(c).square().sum()",
        "return (1 - c.diagonal()).square().sum(), c.square().sum()",
    ),
    (
        "medssl/methods/barlow.py",
        "return z / (z.square().mean(0) + EPS).sqrt()",
        "return z / (z.var(0) + EPS).sqrt()",
    ),
    ("medssl/methods/barlow.py", "    z = z - z.mean(0)\n", "    z = z - z.mean()\n"),
    (
        "medssl/methods/barlow.py",
        '"redundancy": self.redundancy * redundancy}',
        '"redundancy": redundancy}',
    ),
    (
        "medssl/methods/barlow.py",
        "asked = share * z1 + (1 - share) * z2[partner]",
        "asked = (1 - share) * z1 + share * z2[partner]",
    ),
    (
        "medssl/methods/barlow.py",
        "asked = share * z1 + (1 - share) * z2[partner]",
        "asked = share * z1 + (1 - share) * z2",
    ),
    (
        "medssl/methods/barlow.py",
        "asked = share * z1 + (1 - share) * z2[partner]",
        "asked = share * z1 + (1 - share) * z1[partner]",
    ),
    (
        "medssl/methods/barlow.py",
        "asked = share * z1 + (1 - share) * z2[partner]",
        "asked = (share * z1 + (1 - share) * z2[partner]).detach()",
    ),
    (
        "medssl/methods/barlow.py",
        "- correlation(asked, z)).square()",
        "- correlation(asked, z).detach()).square()",
    ),
    (
        "medssl/methods/barlow.py",
        ".square().sum() for z in (z1, z2))",
        ".square().sum() for z in (z1,))",
    ),
    (
        "medssl/methods/barlow.py",
        ".square().sum() for z in (z1, z2))",
        ".square().mean() for z in (z1, z2))",
    ),
    (
        "medssl/methods/barlow.py",
        "mixed = share * views[0] + (1 - share) * gathered(views[1])[of_own]",
        "mixed = share * views[0] + (1 - share) * gathered(views[0])[of_own]",
    ),
    (
        "medssl/methods/barlow.py",
        "mixed = share * views[0] + (1 - share) * gathered(views[1])[of_own]",
        "mixed = share * views[0] + (1 - share) * gathered(views[1])",
    ),
    ("medssl/methods/barlow.py", "scale = self.mix * self.redundancy", "scale = self.mix"),
    ("medssl/methods/barlow.py", "*sorted(seeds.tolist()))", "*seeds.tolist())"),
    (
        "medssl/methods/barlow.py",
        "    partner[rank] = rank[torch.randperm(len(rank), generator=g)]",
        "    partner[rank] = rank.roll(1)",
    ),
    (
        "medssl/methods/barlow.py",
        "z1, z2 = [standardised(gathered(self.head(f))) for f in features]",
        "z1, z2 = [standardised(gathered(self.head(f))) for f in (features[0], features[0])]",
    ),
    ("medssl/methods/parts/correlation.py", "/ len(z1)", ""),
    ("medssl/methods/parts/correlation.py", "/ len(z1)", "/ (len(z1) - 1)"),
    (
        "medssl/methods/parts/correlation.py",
        "with torch.autocast(z1.device.type, enabled=False):",
        "if True:",
    ),
    (
        "medssl/methods/parts/correlation.py",
        "return matrix[~torch.eye(",
        "return matrix[torch.eye(",
    ),
    (
        "medssl/methods/vicreg.py",
        '"invariance": (z1 - z2).square().mean()',
        '"invariance": (z1 - z2).square().sum(1).mean()',
    ),
    (
        "medssl/methods/vicreg.py",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
        "(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
    ),
    (
        "medssl/methods/vicreg.py",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean()",
    ),
    (
        "medssl/methods/vicreg.py",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
        "relu((z.var(0) + EPS).sqrt() - 1).mean() / 2",
    ),
    (
        "medssl/methods/vicreg.py",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
        "relu(1 - (z.var(0, correction=0) + EPS).sqrt()).mean() / 2",
    ),
    (
        "medssl/methods/vicreg.py",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
        "relu(1 - z.var(0).sqrt()).mean() / 2",
    ),
    (
        "medssl/methods/vicreg.py",
        "relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2",
        "relu(1 - (z.var(1) + EPS).sqrt()).mean() / 2",
    ),
    ("medssl/methods/vicreg.py", "* b / (b - 1)", ""),
    (
        "medssl/methods/vicreg.py",
        "off_diagonal(covariance).square().sum() / d",
        "off_diagonal(covariance).square().mean()",
    ),
    (
        "medssl/methods/vicreg.py",
        "off_diagonal(covariance).square().sum() / d",
        "covariance.square().sum() / d",
    ),
    ("medssl/methods/vicreg.py", 'terms["covariance"] += off', 'terms["covariance"] = off'),
    (
        "medssl/methods/vicreg.py",
        "centred, (b, d) = z - z.mean(0), z.shape",
        "centred, (b, d) = z, z.shape",
    ),
    (
        "medssl/methods/vicreg.py",
        "terms = {name: self.weights[name] * term for name, term in terms.items()}",
        "terms = dict(terms)",
    ),
    ("medssl/methods/vicreg.py", "cosines(a - mean, b - mean)", "cosines(a, b)"),
]
