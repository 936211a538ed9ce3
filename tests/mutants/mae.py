"""Mutants of MAE, convolutional MAE, SimMIM and the transformer that drops patches."""

TESTS = [
    "tests/methods/test_mae.py",
    "tests/methods/test_conv_mae.py",
    "tests/methods/test_simmim.py",
    "tests/methods/parts/test_masking.py",
    "tests/backbones/test_vit.py",
]
MUTANTS = [
    (
        "medssl/methods/mae.py",
        "target = patchify(image, self.patch, hidden)",
        "target = patchify(image, self.patch, hidden.flip(1))",
    ),
    (
        "medssl/methods/mae.py",
        "features = take(self.backbone(image, visible=~mask)[-1].flatten(2).transpose(1, 2), seen)",
        "features = take(self.backbone(image)[-1].flatten(2).transpose(1, 2), seen)",
    ),
    (
        "medssl/methods/mae.py",
        "self.to_decoder(features) + self.positions[seen],",
        "self.to_decoder(features) + self.positions[hidden[:, : seen.shape[1]]],",
    ),
    (
        "medssl/methods/mae.py",
        "self.mask_token + self.positions[hidden],",
        "self.mask_token.expand(*hidden.shape, -1),",
    ),
    (
        "medssl/methods/mae.py",
        "predicted = predicted.float() * std + mean",
        "predicted = predicted.float()",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "target = (target - mean) / std",
        "target = target - mean",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "return torch.where(mask.bool(), error, 0.0).sum() / mask.sum()",
        "return torch.where(mask.bool(), error, 0.0).mean()",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "return torch.where(mask.bool(), error, 0.0).sum() / mask.sum()",
        "return error.mean()",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "error = (predicted - target).square().mean(-1)",
        "error = (predicted - target).square().sum(-1)",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "predicted, target = predicted.float(), target.float()",
        "predicted, target = predicted, target",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "return mean, (spread.square() / max(patches.shape[-1] - 1, 1) + 1e-6).sqrt()",
        "return mean, (spread.square() / max(patches.shape[-1], 1) + 1e-6).sqrt()",
    ),
    (
        "medssl/methods/parts/reconstruction.py",
        "output = torch.where(hidden, output.to(image.dtype), image)",
        "output = output.to(image.dtype)",
    ),
    (
        "medssl/methods/parts/masking.py",
        "    keep = round(n * (1 - ratio))",
        "    keep = int(n * (1 - ratio))",
    ),
    (
        "medssl/methods/parts/masking.py",
        "return order.tensor_split([flat.shape[1] - masked], 1)",
        "return order.tensor_split([masked], 1)",
    ),
    (
        "medssl/methods/conv_mae.py",
        "return self.decoder(levels, holes)",
        "return self.decoder(levels, image)",
    ),
    (
        "medssl/methods/conv_mae.py",
        "levels = self.backbone(holes)",
        "levels = self.backbone(image)",
    ),
    (
        "medssl/methods/conv_mae.py",
        "return self.decoder(levels[-1:], torch.zeros_like(holes))",
        "return self.decoder(levels[-1:], image)",
    ),
    ("medssl/methods/conv_mae.py", "seen = torch.where(visible, image, torch.inf)", "seen = image"),
    (
        "medssl/methods/conv_mae.py",
        "image = self.augment(target, seeds, spatial=False)",
        "image = self.augment(target, seeds)",
    ),
    (
        "medssl/methods/conv_mae.py",
        "target = self.augment(image, seeds, intensity=False)",
        "target = image",
    ),
    (
        "medssl/methods/conv_mae.py",
        'counted = split_places(mask)[1] if self.loss_on == "masked" else None',
        'counted = split_places(mask)[0] if self.loss_on == "masked" else None',
    ),
    (
        "medssl/methods/conv_mae.py",
        'counted = split_places(mask)[1] if self.loss_on == "masked" else None',
        "counted = None",
    ),
    ("medssl/methods/conv_mae.py", "low + (high - low) * share", "low"),
    (
        "medssl/methods/conv_mae.py",
        "target = patchify(target, self.patch, counted)",
        "target = patchify(image, self.patch, counted)",
    ),
    (
        "medssl/methods/simmim.py",
        "return torch.where(expand_visible(~mask, size), image, tiled)",
        "return torch.where(expand_visible(~mask, size), image, 0.0)",
    ),
    (
        "medssl/methods/simmim.py",
        "return torch.where(expand_visible(~mask, size), image, tiled)",
        "return torch.where(expand_visible(mask, size), image, tiled)",
    ),
    (
        "medssl/methods/simmim.py",
        "hidden = split_places(~expand_visible(~mask, self.grid))[1]",
        "hidden = split_places(~expand_visible(~mask, self.grid))[0]",
    ),
    (
        "medssl/methods/simmim.py",
        "return l1_loss(predicted.float(), target.float())",
        "return torch.nn.functional.mse_loss(predicted.float(), target.float())",
    ),
    (
        "medssl/methods/simmim.py",
        "return l1_loss(predicted.float(), target.float())",
        "return l1_loss(predicted.float(), target.float(), reduction='sum') / predicted.shape[1]",
    ),
    (
        "medssl/methods/simmim.py",
        "self.backbone(self.covered(image, mask))",
        "self.backbone(image)",
    ),
    (
        "medssl/backbones/vit.py",
        "q = nn.functional.linear(x[:, skip:], to_q, q_bias)",
        "q = nn.functional.linear(x[:, : x.shape[1] - skip], to_q, q_bias)",
    ),
    (
        "medssl/backbones/vit.py",
        "k, v = nn.functional.linear(x, to_kv, kv_bias).unflatten(2, (2, c)).unbind(2)",
        "k, v = nn.functional.linear(x[:, skip:], to_kv, kv_bias).unflatten(2, (2, c)).unbind(2)",
    ),
    (
        "medssl/backbones/vit.py",
        "x = x[:, skip:] + self._sometimes",
        "x = x[:, : x.shape[1] - skip] + self._sometimes",
    ),
    (
        "medssl/backbones/vit.py",
        "return self.embed(cut_patches(image, self.patch, kept)) + positions[kept], kept",
        "return self.embed(cut_patches(image, self.patch, kept)) + positions[: kept.shape[1]], kept",
    ),
]
