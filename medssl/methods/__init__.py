"""Self-supervised methods: one file each, read beside the paper."""
