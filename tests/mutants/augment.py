"""Mutants of the batched augmentation."""

TESTS = ["tests/augment"]
MUTANTS = [
    (
        "medssl/augment/spatial.py",
        "move = maps[..., -1] * side + (box.mean(1) - 0.5) * n",
        "move = maps[..., -1] * side - (box.mean(1) - 0.5) * n",
    ),
    (
        "medssl/augment/spatial.py",
        "move = maps[..., -1] * side + (box.mean(1) - 0.5) * n",
        "move = maps[..., -1] + (box.mean(1) - 0.5) * n",
    ),
    (
        "medssl/augment/spatial.py",
        "matrix = matrix / torch.exp(low + (high - low) * growth)[..., None]",
        "matrix = matrix * torch.exp(low + (high - low) * growth)[..., None]",
    ),
    (
        "medssl/augment/spatial.py",
        "plane[:, i, j], plane[:, j, i] = -torch.sin(angle), torch.sin(angle)",
        "plane[:, i, j], plane[:, j, i] = torch.sin(angle), torch.sin(angle)",
    ),
    (
        "medssl/augment/spatial.py",
        "line = torch.arange(m, dtype=torch.float64) - (m - 1) / 2",
        "line = torch.arange(m, dtype=torch.float64) - m / 2",
    ),
    (
        "medssl/augment/spatial.py",
        "bent = None if elastic is None else elastic[some]",
        "bent = None",
    ),
    ("medssl/augment/spatial.py", "moved = image[some].flip(axes)", "moved = image[some]"),
    ("medssl/augment/spatial.py", "only = only & (elastic == 0).flatten(1).all(1)", "only = only"),
    (
        "medssl/augment/spatial.py",
        "    image = image - fill  # zero outside is `fill` in the end\n",
        "\n",
    ),
    (
        "medssl/augment/spatial.py",
        'mode = "nearest" if nearest else "bilinear"',
        'mode = "bilinear"',
    ),
    (
        "medssl/augment/spatial.py",
        "if image.is_cpu and len(n) == 3 and not nearest:",
        "if image.is_cpu and len(n) == 3:",
    ),
    (
        "medssl/augment/trilinear.py",
        "margin = fill.expand(",
        "margin = torch.zeros_like(fill).expand(",
    ),
    (
        "medssl/augment/trilinear.py",
        "place.clamp_(0, n - 2).to(first.dtype)",
        "place.to(first.dtype)",
    ),
    (
        "medssl/augment/trilinear.py",
        "for half, share in zip((4, 2, 1), at, strict=True):",
        "for half, share in zip((4, 2, 1), at.flip(0), strict=True):",
    ),
    (
        "medssl/augment/spatial.py",
        'control = torch.einsum("bij,bj...->bi...", maps[..., :-1], elastic.double())',
        "control = elastic.double().flip(1) * 2 / torch.tensor(n[::-1]).view(-1, *[1] * len(n))",
    ),
    (
        "medssl/augment/elastic.py",
        "limit = (FOLDS * cells.min()).clamp(max=largest).double()",
        "limit = torch.tensor(largest)",
    ),
    ("medssl/augment/elastic.py", "* u[:, :1] * limit", "* limit"),
    ("medssl/augment/elastic.py", "* (points - 3) / n + 1", "* (points - 3) / n"),
    ("medssl/augment/boxes.py", "low = place * (1 - side)", "low = place"),
    (
        "medssl/augment/boxes.py",
        "stretch = stretch - stretch.mean(-1, keepdim=True)",
        "stretch = stretch",
    ),
    ("medssl/augment/separable.py", "for matrix in reversed(matrices):", "for matrix in matrices:"),
    ("medssl/augment/blur.py", "/ sigma.clamp(min=1e-3)", "/ sigma.clamp(min=1e-3) ** 2"),
    (
        "medssl/augment/blur.py",
        "total.narrow(0, here, left).add_(weight)",
        "total.add_(weight)",
    ),
    (
        "medssl/augment/blur.py",
        "(out, spare)[(len(sigma) - axis) % 2]",
        "(spare, out)[(len(sigma) - axis) % 2]",
    ),
    (
        "medssl/augment/blur.py",
        "torch.where(u[:, :1] < probability, largest * u[:, 1:], 0.0)",
        "largest * u[:, 1:]",
    ),
    (
        "medssl/augment/resolution.py",
        "place = ((index[:, None] + 0.5) * m / n - 0.5)",
        "place = (index[:, None] * m / n)",
    ),
    (
        "medssl/augment/resolution.py",
        "average = shared.clamp(min=0) * m / n",
        "average = shared.clamp(min=0)",
    ),
    ("medssl/augment/resolution.py", "(chosen | (not one_axis))", "(chosen | True)"),
    (
        "medssl/augment/bias.py",
        "return (some - low).mul_(factor[:, None]).add_(low)",
        "return some * factor[:, None]",
    ),
    ("medssl/augment/bias.py", "low = floor[rows.to(image.device)]", "low = floor[: len(rows)]"),
    (
        "medssl/augment/bias.py",
        "wanted = (degree > 0) & (degree <= DEGREE)",
        "wanted = degree <= DEGREE",
    ),
    (
        "medssl/augment/cutout.py",
        "centre = (torch.arange(n, dtype=box.dtype, device=box.device) + 0.5) / n",
        "centre = torch.arange(n, dtype=box.dtype, device=box.device) / n",
    ),
    ("medssl/augment/cutout.py", "(largest * u[:, 1:2] / count)", "(largest * u[:, 1:2])"),
    ("medssl/augment/cutout.py", "low = fill[rows.to(image.device)]", "low = fill[: len(rows)]"),
    (
        "medssl/augment/intensity.py",
        "b = b + g * (1 - c) * some.mean(tuple(range(2, some.ndim)), keepdim=True)",
        "b = b + (1 - c) * some.mean(tuple(range(2, some.ndim)), keepdim=True)",
    ),
    (
        "medssl/augment/intensity.py",
        "some.mean(tuple(range(2, some.ndim)), keepdim=True)",
        "some.mean(tuple(range(1, some.ndim)), keepdim=True)",
    ),
    (
        "medssl/augment/intensity.py",
        "some.mean(tuple(range(2, some.ndim)), keepdim=True)",
        "some.mean()",
    ),
    (
        "medssl/augment/intensity.py",
        "power = unit.log_().mul_(beside(gamma[rows], some)).exp_()",
        "power = unit.log_().div_(beside(gamma[rows], some)).exp_()",
    ),
    (
        "medssl/augment/intensity.py",
        "taken, value = u[:, 0] < probability",
        "taken, value = u[:, 0] <= 1",
    ),
    (
        "medssl/augment/intensity.py",
        "own = seeds.cpu()[rows].tolist()",
        "own = seeds.cpu()[: len(rows)].tolist()",
    ),
    ("medssl/augment/intensity.py", 'manual_seed(key(seed, "augment.voxels"))', "manual_seed(7)"),
    (
        "medssl/augment/intensity.py",
        "return noise.mul_(beside(deviation[rows], some)).add_(some)",
        "return noise.mul_(beside(deviation[rows], some) ** 2).add_(some)",
    ),
    (
        "medssl/augment/samples.py",
        "return image.index_copy(0, there, work(image[there], rows))",
        "return image.index_copy_(0, there, work(image[there], rows))",
    ),
    (
        "medssl/augment/samples.py",
        'generator=torch_generator(seed, f"augment.{purpose}")',
        'generator=torch_generator(seed, "augment")',
    ),
    ("medssl/augment/compose.py", "return image.clamp(low, high) if p else image", "return image"),
    (
        "medssl/augment/compose.py",
        "return image.clamp(low, high) if p else image",
        "return image.clamp(low, high)",
    ),
    ("medssl/augment/compose.py", "keepdim=True).clamp(max=0)", "keepdim=True) * 0"),
    (
        "medssl/augment/compose.py",
        "with torch.autocast(image.device.type, enabled=False):",
        "with torch.no_grad():",
    ),
    (
        "medssl/augment/compose.py",
        "return Drawn(self.seeds[rows], self.size, self.maps[rows], elastic, values)",
        "return Drawn(self.seeds, self.size, self.maps[rows], elastic, values)",
    ),
    (
        "medssl/augment/compose.py",
        "share = crop or (self.crop if spatial else (1.0, 1.0))",
        "share = crop or self.crop",
    ),
    (
        "medssl/augment/compose.py",
        "maps = draw_affine(seeds, size, **(moved if spatial else {}))",
        "maps = draw_affine(seeds, size, **moved)",
    ),
    (
        "medssl/augment/compose.py",
        "values = self._draw_intensity(seeds, ndim) if intensity else {}",
        "values = self._draw_intensity(seeds, ndim)",
    ),
    (
        "medssl/augment/compose.py",
        'image = apply_bias(image, p["bias"], floor)',
        'image = apply_bias(image, p["bias"])',
    ),
    (
        "medssl/augment/compose.py",
        'image = apply_cutout(image, p["cutout"], floor)',
        'image = apply_cutout(image, p["cutout"])',
    ),
    ("medssl/augment/compose.py", "size=self.size, fill=floor)", "size=self.size)"),
]
