"""Mutants of SparK and the sparse convnets."""

TESTS = [
    "tests/backbones/test_cells.py",
    "tests/backbones/test_sparse.py",
    "tests/methods/test_spark.py",
]
MUTANTS = [
    (
        "medssl/backbones/cells.py",
        "        rows = torch.where(cell < 0, len(self.cells) * places, cell * places + within)",
        "        rows = torch.where(cell < 0, 0, cell * places + within)",
    ),
    (
        "medssl/backbones/cells.py",
        "of_fill = gradient.sum(0) - of_rows.sum(0)",
        "of_fill = gradient.sum(0)",
    ),
    (
        "medssl/backbones/sparse.py",
        "        for r in cells.samples(x)",
        "        for r in [x.reshape(-1, x.shape[-1])]",
    ),
    (
        "medssl/backbones/sparse_convolution.py",
        "    return rows.new_zeros(n + 1, rows.shape[1]).index_add_(0, index, rows)[:n]",
        "    return rows.new_zeros(n + 1, rows.shape[1]).index_copy_(0, index, rows)[:n]",
    ),
    (
        "medssl/backbones/sparse_convolution.py",
        "        turned = turned.flip(list(range(3, 3 + ndim))).reshape(x.shape[-1], -1, *kernel)",
        "        turned = turned.reshape(x.shape[-1], -1, *kernel)",
    ),
    (
        "medssl/backbones/sparse_convolution.py",
        "        gb = g.view(-1, g.shape[-1]).sum(0) if ctx.needs_input_grad[2] else None",
        "        gb = g.view(-1, g.shape[-1]).mean(0) if ctx.needs_input_grad[2] else None",
    ),
    (
        "medssl/backbones/cells.py",
        "        s % (g * d) for s, g, d in zip(size, grid, divisor, strict=True)",
        "        s % g for s, g, d in zip(size, grid, divisor, strict=True)",
    ),
    (
        "medssl/backbones/sparse_convolution.py",
        "    diagonal = [a + b for a, b in zip(of_window, of_block, strict=True)]",
        "    diagonal = [b for a, b in zip(of_window, of_block, strict=True)]",
    ),
    (
        "medssl/backbones/sparse_timm.py",
        "    response = torch.stack([rows.norm(dim=0) for rows in cells.samples(x)])",
        "    response = torch.stack([x.flatten(0, -2).norm(dim=0) for rows in cells.samples(x)])",
    ),
    (
        "medssl/backbones/monai3d.py",
        "        cells = cells_of(image, visible, self.divisor)",
        "        cells = None",
    ),
    (
        "medssl/methods/spark.py",
        "        predicted = patchify(self(image, mask), self.cell, hidden)",
        "        predicted = patchify(self(image, ~mask), self.cell, hidden)",
    ),
    (
        "medssl/methods/spark.py",
        "        hidden = split_places(mask)[1]",
        "        hidden = split_places(mask)[0]",
    ),
    (
        "medssl/methods/spark.py",
        "        return self.decoder(self.densify(self.backbone(image, visible=~mask), mask))",
        "        return self.decoder(self.densify(self.backbone(image), mask))",
    ),
    (
        "medssl/methods/spark.py",
        "        return StepOutput(mae_loss(predicted, target, None, self.normalise_target))",
        "        return StepOutput(mae_loss(predicted, target, None, True))",
    ),
    (
        "medssl/methods/spark.py",
        "            cells.put(run(norm, cells.take(level), cells), token)",
        "            cells.put(run(norm, cells.take(level), cells))",
    ),
    (
        "medssl/methods/spark.py",
        "            cells.put(run(norm, cells.take(level), cells), token)",
        "            cells.put(cells.take(level), token)",
    ),
    (
        "medssl/methods/spark.py",
        "                x = x + self.projections[str(level)](levels[level])",
        "                x = x + self.projections[str(level)](levels[level].detach())",
    ),
    (
        "medssl/methods/spark.py",
        '            x, stride = after(interpolate(before(x), scale_factor=scale, mode="nearest")), finer',
        '            x, stride = after(interpolate(before(x).detach(), scale_factor=scale, mode="nearest")), finer',
    ),
]
