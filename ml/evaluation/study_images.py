"""A bundle's own images as its network sees them, looked at once and kept: for studies of many heads on one network.

Images are kept apart as the bundle keeps them: training, validation, and locked test images. Maps under weights drawn
anew are made once too. Imports TensorFlow for these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml.bundle import Bundle
from ml.data.manifest import Item, Manifest
from ml.evaluation.cascade import rank_correlation
from ml.evaluation.faithfulness import METHOD, draw_evenly
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.evaluation.means import Means
from ml.evaluation.predictions import EvaluationError
from ml.evaluation.site_places import measured
from ml.heads import HeadWeights
from ml.imaging.preprocessing import normalise
from ml.locked import locked_images
from ml.pictures import prepared_picture
from ml.promotion_evidence import RANDOMISED
from ml.runtimes import Runtime, open_runtime
from ml.saliency import saliency_map
from ml.saving import load_arrays, save_arrays
from ml.site_images import FloatArray, SiteImages

MAP_IMAGES = 16
MAP_NETWORKS = 8


@dataclass(frozen=True)
class Maps:
    """Feature maps of n images: of the bundle's network, and of d networks whose weights are all drawn anew.

    A head changes neither, so the maps of every study model are compared with those of the same random networks.

    Attributes:
        own: (n, h, w, c). drawn: (d, n, h, w, c). heads: (d, c, k) of the drawn networks. groups: of the images.
    """

    own: FloatArray
    drawn: FloatArray
    heads: FloatArray
    groups: tuple[str, ...]

    def figure(self, head: HeadWeights, *, seed: int, resamples: int = RESAMPLES) -> Figure:
        """Correlation of a head's maps with the random networks', as `faithfulness` measures it."""
        given = head.logits(self.own.mean(axis=(1, 2))).argmax(axis=1)
        found = np.empty((len(self.own), len(self.drawn)))
        for i, label in enumerate(given.tolist()):
            mine = saliency_map(self.own[i], head.kernel[:, label], METHOD)
            for d, (features, kernel) in enumerate(zip(self.drawn, self.heads, strict=True)):
                found[i, d] = rank_correlation(mine, saliency_map(features[i], kernel[:, label], METHOD))
        groups = np.unique(self.groups, return_inverse=True)[1].astype(np.intp)
        split = f"test part, {len(self.own)} images drawn evenly by class"
        return Means(groups, split, seed, resamples).of_networks(RANDOMISED, found)


@dataclass(frozen=True)
class Looked:
    """A bundle's own images as its network sees them; `items` are those of `locked`."""

    bundle: Bundle
    train: SiteImages
    validation: SiteImages
    locked: SiteImages
    items: tuple[Item, ...]
    maps: Maps


def look(
    bundle: Bundle,
    manifest: Manifest,
    *,
    cache: Path,
    seed: int,
    most: int | None = None,
    map_images: int = MAP_IMAGES,
    networks: int = MAP_NETWORKS,
    progress: Callable[[str, int, int], None] = lambda part, done, total: None,
) -> Looked:
    """Run a bundle over the images it was made from, each once: what is seen stays in `cache`.

    Args:
        manifest: the data the bundle was made from.
        most: at most so many images of each part, drawn evenly by class; None takes all.
        map_images, networks: of how many images, under how many random networks, maps are compared.
        progress: called with the part, and with the images done and to do.

    Raises:
        EvaluationError: the data lack images of the bundle's.
    """
    at_hand = {item.sha256: item for item in reversed(manifest.items)}
    drawing = np.random.default_rng(seed)
    parts: dict[str, list[Item]] = {}
    for part in ("train", "validation"):
        wanted = dict.fromkeys(bundle.manifest["data"].get(f"{part}_sha256", ()))
        parts[part] = [at_hand[sha256] for sha256 in wanted if sha256 in at_hand]
    parts["locked"] = locked_images(bundle, [manifest])
    if not all(parts.values()):
        lacking = " and ".join(part for part, items in parts.items() if not items)
        raise EvaluationError(f"{manifest.name} holds no {lacking} images of {bundle.name}.")
    if most is not None:
        parts = {part: draw_evenly(items, most, drawing) for part, items in parts.items()}
    opened: list[Runtime] = []

    def runtime() -> Runtime:
        if not opened:
            opened.append(open_runtime(bundle, "openvino"))
        return opened[0]

    # Evidence and card change the hash of a bundle, and nothing of what its network sees.
    network = replace(bundle, sha256=_network(bundle))
    seen: dict[str, SiteImages] = {}
    for part, items in parts.items():
        rows = []
        for done, item in enumerate(items, start=1):
            # One by one, so that a study that was killed goes on where it was.
            rows.append(measured(network, runtime, [item], site=None, cache=cache))
            progress(part, done, len(items))
        seen[part] = _together(rows)
    shown = draw_evenly(parts["locked"], map_images, drawing)
    maps = _maps(network, runtime, shown, networks, seed, cache)
    return Looked(bundle, items=tuple(parts["locked"]), maps=maps, **seen)


def _network(bundle: Bundle) -> str:
    """SHA-256 of what decides what a network sees: its graph and the preprocessing."""
    facts = {
        "network": bundle.manifest["files"]["model.onnx"],
        "preprocessing": bundle.preparation.as_dict(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _together(rows: Sequence[SiteImages]) -> SiteImages:
    return SiteImages(
        pooled=np.concatenate([row.pooled for row in rows]),
        seen=np.concatenate([row.seen for row in rows]),
        membership=np.concatenate([row.membership for row in rows]),
        groups=tuple(group for row in rows for group in row.groups),
        refused=np.concatenate([row.refused for row in rows]),
        sha256=tuple(sha256 for row in rows for sha256 in row.sha256),
    )


def _maps(
    bundle: Bundle,
    runtime: Callable[[], Runtime],
    items: Sequence[Item],
    networks: int,
    seed: int,
    cache: Path,
) -> Maps:
    groups = tuple(item.group for item in items)
    told = "\n".join((bundle.sha256, str(networks), str(seed), *(item.sha256 for item in items)))
    path = cache / f"maps-{hashlib.sha256(told.encode()).hexdigest()[:24]}.npz"
    if not path.is_file():
        from ml.evaluation.randomised import RandomisedNetwork

        images = normalise(np.stack([prepared_picture(bundle.preparation, item) for item in items]))
        own, _ = runtime().run(images)
        rng = np.random.default_rng((seed, 1))
        answers = list(RandomisedNetwork(bundle).answers(images, "whole", rng, networks))
        drawn, heads = (np.stack(arrays) for arrays in zip(*answers, strict=True))
        cache.mkdir(parents=True, exist_ok=True)
        save_arrays(path, [own, drawn, heads])
    own, drawn, heads = load_arrays(path)
    return Maps(own, drawn, heads, groups)
