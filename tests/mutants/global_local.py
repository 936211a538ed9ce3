"""Mutants of global and local contrast, and of mixup."""

TESTS = [
    "tests/methods/test_global_contrast.py",
    "tests/methods/test_local_contrast.py",
    "tests/tasks/test_segmentation.py",
    "tests/tasks/test_classification.py",
]
MUTANTS = [
    (
        "medssl/methods/global_contrast.py",
        "        negatives = part.repeat(views)[:, None] != part.repeat(views)",
        "        negatives = ~torch.eye(len(images), dtype=torch.bool)",
    ),
    (
        "medssl/methods/global_contrast.py",
        "        negatives = part.repeat(views)[:, None] != part.repeat(views)",
        "        negatives = (part.repeat(views)[:, None] != part.repeat(views)) | torch.eye(len(images), dtype=torch.bool)",
    ),
    (
        "medssl/methods/global_contrast.py",
        '        part = batch["part"].flatten()',
        "        part = torch.arange(m)",
    ),
    (
        "medssl/methods/global_contrast.py",
        "            part = torch.arange(len(part), device=part.device)  # every box is a class of its own",
        "            pass",
    ),
    (
        "medssl/methods/global_contrast.py",
        "    return softplus(log_sum[a] - s[a, b]).sum() / len(pairs)",
        "    return (log_sum[a] - s[a, b]).sum() / len(pairs)",
    ),
    (
        "medssl/methods/global_contrast.py",
        "    return softplus(log_sum[a] - s[a, b]).sum() / len(pairs)",
        "    return softplus(s[a, b] - log_sum[a]).sum() / len(pairs)",
    ),
    (
        "medssl/methods/global_contrast.py",
        "    return softplus(log_sum[a] - s[a, b]).sum() / len(pairs)",
        "    return softplus(log_sum[a] - s[a, b]).mean()",
    ),
    (
        "medssl/methods/global_contrast.py",
        "    return softplus(log_sum[a] - s[a, b]).sum() / len(pairs)",
        "    return softplus(log_sum[b] - s[a, b]).sum() / len(pairs)",
    ),
    (
        "medssl/methods/global_contrast.py",
        "    a, b = torch.cat([pairs, pairs.flip(1)]).T\n    return",
        "    a, b = torch.cat([pairs, pairs]).T\n    return",
    ),
    (
        "medssl/methods/global_contrast.py",
        "            if items[other] != items[place]:",
        "            if True:",
    ),
    (
        "medssl/methods/global_contrast.py",
        "                following.setdefault(items[other], other)",
        "                following[items[other]] = other",
    ),
    (
        "medssl/methods/global_contrast.py",
        "                following.setdefault(items[other], other)",
        "                following[len(following)] = other",
    ),
    ("medssl/methods/global_contrast.py", "        if len(following) < n:", "        if False:"),
    (
        "medssl/methods/global_contrast.py",
        "seed.argsort(stable=True).tolist()",
        "list(range(len(item)))",
    ),
    (
        "medssl/methods/global_contrast.py",
        "            pairs = [(i, i + b * s), (j, j + b * s), (i, j), (i + b * s, j + b * s)]",
        "            pairs = [(i, i + b * s), (i, j), (i + b * s, j + b * s)]",
    ),
    (
        "medssl/methods/global_contrast.py",
        "            pairs = [(i, i + b * s), (j, j + b * s), (i, j), (i + b * s, j + b * s)]",
        "            pairs = [(i, i + b * s), (j, j + b * s), (i, j + b * s), (i + b * s, j)]",
    ),
    (
        "medssl/methods/global_contrast.py",
        "            pairs = list(combinations(rows_of, 2))",
        "            pairs = list(combinations(rows_of, 2))[:1]",
    ),
    (
        "medssl/methods/global_contrast.py",
        "        views = [boxes.image] if as_read else []",
        "        views = [torch.zeros_like(boxes.image)] if as_read else []",
    ),
    (
        "medssl/methods/global_contrast.py",
        "        for seeds in view_seeds(boxes.seed, varied):",
        "        for seeds in [boxes.seed] * varied:",
    ),
    (
        "medssl/methods/global_contrast.py",
        "            views.append(self.augment(boxes.image, seeds, crop=self.share))",
        "            views.append(self.augment(boxes.image, seeds))",
    ),
    (
        "medssl/methods/local_contrast.py",
        "        self.backbone, self.augment = backbone.requires_grad_(False), augment",
        "        self.backbone, self.augment = backbone, augment",
    ),
    ("medssl/methods/local_contrast.py", "        self.backbone.eval()\n", "        pass\n"),
    ("medssl/methods/local_contrast.py", "        self.train()\n", ""),
    (
        "medssl/methods/local_contrast.py",
        "        self.decoder.blocks[:blocks].requires_grad_(True)",
        "        self.decoder.requires_grad_(True)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    disjoint = (apart >= region).any(-1)",
        "    disjoint = (apart > 0).any(-1)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    disjoint = (apart >= region).any(-1)",
        "    disjoint = (apart >= region - 1).any(-1)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    disjoint = (apart >= region).any(-1)",
        "    disjoint = (apart >= region).all(-1)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    disjoint = (apart >= region).any(-1)",
        "    disjoint = (apart >= 0).any(-1)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "        terms.append(softplus(rest.logsumexp(-1) - positive))",
        "        terms.append(rest.logsumexp(-1) - positive)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "        terms.append(softplus(rest.logsumexp(-1) - positive))",
        "        terms.append(softplus(positive - rest.logsumexp(-1)))",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    for own, other in ((ff, fg), (gg, fg.mT)):",
        "    for own, other in ((ff, fg), (gg, fg)):",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    for own, other in ((ff, fg), (gg, fg.mT)):",
        "    for own, other in ((ff, fg),):",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    for own, other in ((ff, fg), (gg, fg.mT)):",
        "    for own, other in ((fg, fg), (fg.mT, fg.mT)):",
    ),
    (
        "medssl/methods/local_contrast.py",
        "        rest = torch.cat([own[:, r, neighbours], other[:, r, neighbours]], -1) / temperature",
        "        rest = torch.cat([own[:, r, neighbours]], -1) / temperature",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    positive = fg.diagonal(dim1=1, dim2=2) / temperature",
        "    positive = fg.diagonal(dim1=1, dim2=2)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    return torch.stack(terms).mean()",
        "    return torch.stack(terms).sum()",
    ),
    (
        "medssl/methods/local_contrast.py",
        "    with torch.autocast(first.device.type, enabled=False):",
        "    if True:",
    ),
    (
        "medssl/methods/local_contrast.py",
        "            [self.augment(boxes.image, s, spatial=False) for s in view_seeds(boxes.seed, 2)]",
        "            [self.augment(boxes.image, s) for s in view_seeds(boxes.seed, 2)]",
    ),
    (
        "medssl/methods/local_contrast.py",
        '            chosen = other_scans(item.view(-1, s)[:, 0], gathered(batch["seed"]), self.others)',
        "            chosen = torch.arange(len(item) // s)[:, None].expand(-1, self.others)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "                pairs.append(torch.stack([box, box.view(-1, s)[sample].flatten() + m], 1))",
        "                pairs.append(torch.stack([box, box.view(-1, s)[sample].roll(1, 1).flatten() + m], 1))",
    ),
    (
        "medssl/methods/local_contrast.py",
        "        regions = self.convs(x).flatten(2)[:, :, voxels]  # (M, C, R, K)",
        "        regions = x.flatten(2)[:, :, voxels]  # (M, C, R, K)",
    ),
    (
        "medssl/methods/local_contrast.py",
        "        number = number * n + at[..., axis]",
        "        number = number * places[0] + at[..., axis]",
    ),
    (
        "medssl/tasks/segmentation.py",
        "            image, target = mixed(image, share), mixed(target, share)",
        "            image = mixed(image, share)",
    ),
    (
        "medssl/tasks/segmentation.py",
        "            image, target = mixed(image, share), mixed(target, share)",
        "            image, target = mixed(image, share), mixed(target, 1 - share)",
    ),
    (
        "medssl/tasks/segmentation.py",
        '            share = shares(batch["seed"], self.mixup)',
        '            share = shares(batch["seed"] * 0, self.mixup)',
    ),
    (
        "medssl/tasks/mixup.py",
        "    return share * x + (1 - share) * other(x)",
        "    return share * x + (1 - share) * x.roll(1, 0)",
    ),
    (
        "medssl/tasks/answers.py",
        "/ (weights * shares).sum()",
        "/ shares.sum()",
    ),
    (
        "medssl/tasks/classification.py",
        "image, code = mixed(image, share), mixed(code, share)",
        "image, code = mixed(image, share), mixed(code, 1 - share)",
    ),
    (
        "medssl/tasks/classification.py",
        "image, code = mixed(image, share), mixed(code, share)",
        "code = mixed(code, share)",
    ),
    (
        "medssl/methods/global_contrast.py",
        "    s = cosines(embeddings, embeddings) / temperature",
        "    s = cosines(embeddings, embeddings)",
    ),
]
