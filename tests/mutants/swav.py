"""Mutants of SwAV and its Sinkhorn."""

TESTS = ["tests/methods/test_swav.py", "tests/methods/parts/test_sinkhorn.py"]
MUTANTS = [
    ("medssl/methods/parts/sinkhorn.py", "@torch.no_grad()\n", ""),
    (
        "medssl/methods/parts/sinkhorn.py",
        "log = log - log.logsumexp(0, keepdim=True)\n        log = log - log.logsumexp(1, keepdim=True)",
        "log = log - log.logsumexp(1, keepdim=True)\n        log = log - log.logsumexp(0, keepdim=True)",
    ),
    (
        "medssl/methods/parts/sinkhorn.py",
        "        log = log - log.logsumexp(0, keepdim=True)\n",
        "",
    ),
    ("medssl/methods/parts/sinkhorn.py", "float32)) / eps", "float32)) * eps"),
    (
        "medssl/methods/parts/sinkhorn.py",
        "torch.promote_types(scores.dtype, torch.float32)",
        "scores.dtype",
    ),
    (
        "medssl/methods/swav.py",
        "other = ~torch.eye(*entropy.shape",
        "other = torch.eye(*entropy.shape",
    ),
    ("medssl/methods/swav.py", "return entropy[other].mean()", "return entropy.mean()"),
    ("medssl/methods/swav.py", "return entropy[other].mean()", "return entropy[other].sum()"),
    (
        "medssl/methods/swav.py",
        "entropy = -(codes[:, None] * log)",
        "entropy = (codes[:, None] * log)",
    ),
    (
        "medssl/methods/swav.py",
        "log = log_softmax(scores / temperature, -1)",
        "log = log_softmax(scores, -1)",
    ),
    (
        "medssl/methods/swav.py",
        "log = log_softmax(scores / temperature, -1)",
        "log = log_softmax(scores / temperature, 1)",
    ),
    ("medssl/methods/swav.py", "self.prototypes.copy_(normalize(self.prototypes, dim=-1))", "pass"),
    (
        "medssl/methods/swav.py",
        "self.prototypes.copy_(normalize(self.prototypes, dim=-1))",
        "self.prototypes.copy_(normalize(self.prototypes, dim=0))",
    ),
    (
        "medssl/methods/swav.py",
        "prototypes = self.prototypes.detach() if step < self.frozen_steps else self.prototypes",
        "prototypes = self.prototypes",
    ),
    ("medssl/methods/swav.py", "if step < self.frozen_steps", "if step <= self.frozen_steps"),
    ("medssl/methods/swav.py", "if step >= self.queue_from", "if step > self.queue_from"),
    (
        "medssl/methods/swav.py",
        "self.queue[:, : int(self.written) if step >= self.queue_from else 0]",
        "self.queue[:1, : int(self.written) if step >= self.queue_from else 0].expand(2, -1, -1)",
    ),
    (
        "medssl/methods/swav.py",
        "self.queue[:, : int(self.written) if step",
        "self.queue[:, : None if step",
    ),
    (
        "medssl/methods/swav.py",
        "torch.stack(codes)[:, : z.shape[1]]",
        "torch.stack(codes)[:, -z.shape[1] :]",
    ),
    (
        "medssl/methods/swav.py",
        "        codes = self.codes(z[:LARGE], step)\n        self.enqueue(z[:LARGE])\n",
        "        self.enqueue(z[:LARGE])\n        codes = self.codes(z[:LARGE], step)\n",
    ),
    ("medssl/methods/swav.py", "        self.enqueue(z[:LARGE])\n", ""),
    (
        "medssl/methods/swav.py",
        "self.queue[:, places[-n:]] = z[:, -n:].to(self.queue)",
        "self.queue[:, places[:n]] = z[:, :n].to(self.queue)",
    ),
    (
        "medssl/methods/swav.py",
        "            self.written += z.shape[1]",
        "            self.written += 1",
    ),
    (
        "medssl/methods/swav.py",
        "        codes = self.codes(z[:LARGE], step)\n",
        "        codes = self.codes(z[-LARGE:], step)\n",
    ),
    (
        "medssl/methods/swav.py",
        "        codes = self.codes(z[:LARGE], step)\n",
        "        codes = self.codes(z[:LARGE].flip(0), step)\n",
    ),
    (
        "medssl/methods/swav.py",
        "        self.enqueue(z[:LARGE])\n",
        "        self.enqueue(z[-LARGE:])\n",
    ),
    (
        "medssl/methods/swav.py",
        "features[: LARGE * len(several.image)]",
        "features[-LARGE * len(several.image) :]",
    ),
    (
        "medssl/methods/swav.py",
        "z = normalize(at_least_float32(self.head(features)), dim=-1)",
        "z = self.head(features).float()",
    ),
    ("medssl/methods/swav.py", "with torch.autocast(z.device.type, enabled=False):", "if True:"),
    ("medssl/methods/swav.py", "codes = self.codes(z, step)[1]", "codes = self.codes(z, step)[0]"),
    (
        "medssl/methods/swav.py",
        "for s, (size, share) in zip(seeds, self.cuts",
        "for s, (size, share) in zip(seeds[:1].expand(len(seeds), -1), self.cuts",
    ),
    ("medssl/methods/swav.py", "perplexity(codes.mean((0, 1)))", "perplexity(codes).mean()"),
]
