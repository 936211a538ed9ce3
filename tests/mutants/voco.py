"""Mutants of VoCo and its omni-supervised form."""

TESTS = [
    "tests/methods/test_voco.py",
    "tests/methods/test_voco_omni.py",
    "tests/methods/parts/test_overlap.py",
]
MUTANTS = [
    ("medssl/methods/voco.py", "near = -torch.log(", "near = torch.log("),
    (
        "medssl/methods/voco.py",
        "    return positive, (each * empty).sum() / empty.sum().clamp(min=1)",
        "    return positive, (each * empty).sum()",
    ),
    (
        "medssl/methods/voco.py",
        "    positive = (labels * each).sum() / labels.sum().clamp(min=EPS)",
        "    positive = (labels * each).mean()",
    ),
    (
        "medssl/methods/voco.py",
        "    positive = (labels * each).sum() / labels.sum().clamp(min=EPS)",
        "    positive = (labels * each).sum() / (labels > 0).sum().clamp(min=1)",
    ),
    (
        "medssl/methods/voco.py",
        "    return near + (distance - (1 - TAIL)).clamp(min=0) / (TAIL + EPS)",
        "    return near",
    ),
    (
        "medssl/methods/voco.py",
        "across = self.activation(cosines(z, bases.roll(-1, 0)))",
        "across = self.activation(cosines(z, bases.roll(1, 0)))",
    ),
    (
        "medssl/methods/voco.py",
        "across = self.activation(cosines(z, bases.roll(-1, 0)))",
        "across = self.activation(cosines(z, bases))",
    ),
    (
        "medssl/methods/voco.py",
        "across = self.activation(cosines(z, bases.roll(-1, 0)))",
        "across = self.activation(cosines(z, bases.detach().roll(-1, 0)))",
    ),
    (
        "medssl/methods/voco.py",
        "relu(cosines(z_known, known.roll(-1, 0))))",
        "relu(cosines(z_known, known.roll(1, 0))))",
    ),
    (
        "medssl/methods/voco.py",
        "relu(cosines(z_known, known.roll(-1, 0))))",
        "relu(cosines(z, bases.roll(-1, 0))))",
    ),
    (
        "medssl/methods/voco.py",
        "        with torch.no_grad():\n            *copy",
        "        with torch.enable_grad():\n            *copy",
    ),
    (
        "medssl/methods/voco.py",
        "        similarity = self.activation(cosines(z, known))",
        "        similarity = self.activation(cosines(z, bases))",
    ),
    (
        "medssl/methods/voco.py",
        "cosines(z, bases.detach())), labels, bases)",
        "cosines(z, bases)), labels, bases)",
    ),
    ("medssl/methods/voco.py", '        if self.loss != "v2":', "        if True:"),
    ("medssl/methods/voco.py", "if not self.inter or len(bases) == 1:", "if not self.inter:"),
    (
        "medssl/methods/voco.py",
        "normalize(projector(features).float(), dim=-1)",
        "projector(features).float()",
    ),
    (
        "medssl/methods/voco.py",
        "    return relu(_pairs(bases)).square().mean()",
        "    return _pairs(bases).square().mean()",
    ),
    (
        "medssl/methods/voco.py",
        "    return relu(_pairs(bases)).square().mean()",
        "    return relu(_pairs(bases)).mean()",
    ),
    (
        "medssl/methods/voco.py",
        "    return _pairs(bases).abs().mean()",
        "    return _pairs(bases).mean()",
    ),
    (
        "medssl/methods/voco.py",
        "    return _pairs(bases).abs().mean()",
        "    return _pairs(bases).abs().sum()",
    ),
    (
        "medssl/methods/voco.py",
        "    return cosines(bases, bases)[:, i, j]",
        "    return cosines(bases, bases.detach())[:, i, j]",
    ),
    ("medssl/methods/voco.py", "bases.shape[1], 1, device", "bases.shape[1], 0, device"),
    (
        "medssl/methods/voco.py",
        "    def forward(self, image: Tensor, seeds: Tensor) -> Placed:\n",
        "    def forward(self, image: Tensor, seeds: Tensor) -> Placed:\n        self.after_step(0) if self.training else None\n",
    ),
    ("medssl/methods/voco.py", "return features * kept / (1 - share)", "return features * kept"),
    (
        "medssl/methods/voco.py",
        "generator=torch.Generator().manual_seed(s))\n        for s in seeds.tolist()\n    ]\n    kept",
        "generator=torch.Generator().manual_seed(0))\n        for s in seeds.tolist()\n    ]\n    kept",
    ),
    ("medssl/methods/voco.py", "torch.rand(features.shape[1], gen", "torch.rand(1, gen"),
    ("medssl/methods/voco.py", "if self.training and self.dropout:", "if self.dropout:"),
    (
        "medssl/methods/voco.py",
        "pool(copy[0](crops)) if copy else pooled, b)",
        "pool(copy[0](crops)) if copy else features, b)",
    ),
    (
        "medssl/methods/voco.py",
        "    with torch.autocast(a.device.type, enabled=False):\n        return",
        "    if True:\n        return",
    ),
    (
        "medssl/methods/voco.py",
        "view_seeds(seeds, 2 * (k + n)).T.flatten(1)",
        "view_seeds(seeds, 1).expand(2 * (k + n), -1).T.flatten(1)",
    ),
    (
        "medssl/methods/voco.py",
        "torch.cat([self.cells.expand(b, -1, -1), starts], 1)",
        "torch.cat([self.cells.flip(0).expand(b, -1, -1), starts], 1)",
    ),
    (
        "medssl/methods/voco.py",
        "torch.cat([self.cells.expand(b, -1, -1), starts], 1)",
        "torch.cat([starts, self.cells.expand(b, -1, -1)], 1)",
    ),
    ("medssl/methods/voco.py", "self.inter * sum(v2_loss", "sum(v2_loss"),
    (
        "medssl/methods/parts/overlap.py",
        "voxels - distance).clamp(min=0) / voxels).prod(-1)",
        "voxels - distance).clamp(min=0) / voxels).mean(-1)",
    ),
    ("medssl/methods/parts/overlap.py", "voxels - distance).clamp(min=0)", "voxels - distance)"),
    (
        "medssl/methods/parts/overlap.py",
        "cells = torch.tensor(list(itertools.product(*[range(g) for g in grid])))",
        "cells = torch.tensor(list(itertools.product(*[range(g) for g in grid[::-1]]))).flip(-1)",
    ),
    ("medssl/methods/parts/overlap.py", "e - s + 1 for e, s", "e - s for e, s"),
    (
        "medssl/methods/voco_omni.py",
        "counted = (labels >= 0)[:, None]",
        "counted = (labels >= -1)[:, None]",
    ),
    (
        "medssl/methods/voco_omni.py",
        "labels.clamp(min=0), logits",
        "labels.clamp(min=0).flip(0), logits",
    ),
    (
        "medssl/methods/voco_omni.py",
        "found = logits.softmax(1) * counted",
        "found = logits.softmax(1)",
    ),
    ("medssl/methods/voco_omni.py", 'reduction="sum")\n', 'reduction="mean")\n'),
    (
        "medssl/methods/voco_omni.py",
        "sum(axes))[1:], total((found + truth).sum(axes))[1:]",
        "sum(axes)), total((found + truth).sum(axes))",
    ),
    (
        "medssl/methods/voco_omni.py",
        "(2 * common + SMOOTH)",
        "(common + SMOOTH)",
    ),
    ("medssl/methods/voco_omni.py", "labelled = low >= 0", "labelled = low >= -1"),
    (
        "medssl/methods/voco_omni.py",
        "self._segmented(self.labeller, crops).softmax",
        "self._segmented(self._segmenter(), crops).softmax",
    ),
    ("medssl/methods/voco_omni.py", "        self.labeller.eval()  #", "        pass  #"),
    ("medssl/methods/voco_omni.py", "step + 1 == self.pseudo_from", "step == self.pseudo_from"),
    ("medssl/methods/voco_omni.py", "step + 1 == self.pseudo_from", "step + 1 >= self.pseudo_from"),
    ("medssl/methods/voco_omni.py", "and step >= self.pseudo_from", "and step > self.pseudo_from"),
    ("medssl/methods/voco_omni.py", "crops, self.detach)", "crops)"),
    ("medssl/methods/voco_omni.py", "self._pseudo_labels(plain)", "self._pseudo_labels(crops)"),
    (
        "medssl/methods/voco_omni.py",
        "self._crops(batch, some(~labelled))",
        "self._crops(batch, labelled | True)",
    ),
    (
        "medssl/methods/voco_omni.py",
        'self._crops(batch, some(labelled))\n            terms["seg',
        'self._crops(batch, labelled | True)\n            terms["seg',
    ),
    ("medssl/methods/voco_omni.py", "each, spatial=False)", "each)"),
    ("medssl/methods/voco_omni.py", "share >= self.confidence", "share <= self.confidence"),
    (
        "medssl/methods/voco_omni.py",
        "_from else None",
        "_from else None\n        self._n = self.labeller; del self.labeller; object.__setattr__(self, 'labeller', self._modules.pop('_n', None))",
    ),
]
