"""Data sets: manifests, splits, duplicates, augmentation."""
