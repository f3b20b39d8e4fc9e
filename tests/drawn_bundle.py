"""A small bundle trained on drawn classes, through the very code that makes the shipped one.

For tests that need a model which gives classes, on a machine without any data. It takes a minute or two, so
that a session makes it once. A network this small learns the drawn classes well enough to be asked about them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ml.bundle import Bundle
from ml.data.augmentation import Augmentation
from ml.data.manifest import Item, Manifest
from ml.data.splits import Split
from ml.drawing import DRAWN_CLASSES, draw_field
from ml.imaging.preprocessing import Preprocessing

SIZE = 64
FIELDS_A_CLASS = 36


def draw_manifest(folder: Path, *, fields: int = FIELDS_A_CLASS) -> Manifest:
    """Draw `fields` fields of each class into `folder` as PNG."""
    items = []
    for number, label in enumerate(DRAWN_CLASSES):
        for i in range(fields):
            path = folder / label / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = draw_field(np.random.default_rng((number, i)), width=320, height=240, kind=label)
            cv2.imwrite(str(path), pixels[..., ::-1])
            items.append(Item(path, f"{label}/{i:03d}.png", label, f"{label}-{i // 4}"))
    return Manifest("drawn", tuple(items))


def train_drawn_bundle(folder: Path, *, name: str = "field-drawn") -> tuple[Bundle, Manifest, Split]:
    """Train, export, calibrate and seal a bundle in `folder/name`; imports TensorFlow."""
    from ml.assemble import assemble
    from ml.data.preparing import corrected_images
    from ml.training import Examples, Plan, Stage, train

    manifest = draw_manifest(folder / "fields")
    places = [i % FIELDS_A_CLASS for i in range(len(manifest))]
    parts = {
        "train": [i for i, place in enumerate(places) if place < 20],
        "validation": [i for i, place in enumerate(places) if 20 <= place < 34],
        "test": [i for i, place in enumerate(places) if place >= 34],
    }
    split = Split("drawn split", *(tuple(parts[key]) for key in ("train", "validation", "test")), left_out=())
    preprocessing = Preprocessing(size=SIZE)
    plan = Plan(
        stages=(Stage(SIZE, 30, 3e-3),),
        batch_size=16,
        dropout=0.1,
        patience=30,
        blocks=(2, 2, 2, 2),
        augmentation=Augmentation(density_gain=0.05, stain_gain=0.05, hue=0.01, saturation=0.1, rotation=10),
    )

    def examples(part: str) -> Examples:
        items = [manifest.items[i] for i in parts[part]]
        labels = np.array([DRAWN_CLASSES.index(item.label) for item in items], dtype=np.int64)
        return Examples(corrected_images(items, preprocessing), labels)

    model, history = train(
        examples("train"),
        examples("validation"),
        classes=DRAWN_CLASSES,
        plan=plan,
        preprocessing=preprocessing,
        start=None,
        work=folder / "work",
        verbose=0,
    )
    bundle = assemble(
        model,
        folder / name,
        task="field",
        name=name,
        version_text="drawn",
        classes=DRAWN_CLASSES,
        malignant=DRAWN_CLASSES[1:],
        manifest=manifest,
        split=split,
        preprocessing=preprocessing,
        training={"plan": plan.as_dict(), "history": history},
    )
    return bundle, manifest, split
