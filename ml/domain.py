"""May the model judge this image? A distance to the training fields, with a threshold from held-out ones.

Two views of an image are compared with the training fields by the mean distance to the nearest of them: the
network's pooled features (what it sees), and plain measurements of stain, illumination and granularity (what
colour augmentation taught the network not to see). The larger of the two, each in units of its own limit, is the
domain score: at most 1 is inside. Distances follow Sun et al. (2022), "Out-of-distribution detection with deep
nearest neighbors", in a whitened space (PCA of the training fields). NumPy and OpenCV alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

NEIGHBOURS = 5
FEATURE_DIMENSIONS = 64
APPEARANCE_SCALES = (1.5, 3.0, 6.0, 12.0, 24.0)
"""Sigmas in pixels of the 224-pixel field between which structure is measured: from chromatin to whole clumps.
The finest grain is left out: it is the camera's and the JPEG's, not the smear's."""
DENSITY_PERCENTILES = (5, 25, 50, 75, 95)

LEAST_STRANGERS = 100
"""Images of a source, and of the others, for it to set limits as a stranger."""

MOST_WIDENING = 2.0
"""How far a site's images may move a view's limit, as a multiple of the old one: the gate still has to turn
strangers away, and one odd image among twenty must not open it to them."""


def appearance(squashed: NDArray[np.uint8]) -> FloatArray:
    """Stain, illumination and granularity of a squashed, uncorrected field: (S, S, 3) RGB uint8 -> (24,) float32.

    Percentiles of each channel's optical density, then the log contrast of the green density and of the colour
    difference in bands of growing size.
    """
    density = -np.log((squashed.astype(np.float32) + 1.0) / 256.0)
    levels = np.percentile(density.reshape(-1, 3), DENSITY_PERCENTILES, axis=0).T.ravel()
    bands: list[float] = []
    for plane, scales in (
        (density[..., 1], APPEARANCE_SCALES),
        (density[..., 0] - density[..., 2], (1.5, 6.0, 24.0, 48.0)),
    ):
        blurred = [cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in scales]
        bands += [float(np.log((fine - coarse).std() + 1e-3)) for fine, coarse in itertools.pairwise(blurred)]
        bands.append(float(np.log(blurred[-1].std() + 1e-3)))
    return np.asarray(np.concatenate([levels, np.array(bands)]), np.float32)


def pooled_features(feature_map: FloatArray) -> FloatArray:
    """Mean over places of a (h, w, c) feature map, scaled to length 1: (c,)."""
    pooled = feature_map.mean(axis=(0, 1))
    return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-12), np.float32)


@dataclass(frozen=True)
class View:
    """One view's whitening and its bank of training fields.

    Attributes:
        mean: (d,). axes: (d, m) whitening. bank: (n, m) whitened training fields. limit: distance that counts as 1.
    """

    mean: FloatArray
    axes: FloatArray
    bank: FloatArray
    limit: float

    @classmethod
    def fit(cls, vectors: FloatArray, *, dimensions: int) -> View:
        """Whiten (n, d) training vectors to at most `dimensions`; the limit is 1 until held-out fields set it."""
        mean = vectors.mean(axis=0)
        _, singular, axes = np.linalg.svd((vectors - mean).astype(np.float64), full_matrices=False)
        kept = min(dimensions, len(vectors) - 1, int((singular > singular[0] * 1e-6).sum()))
        scale = singular[:kept] / np.sqrt(len(vectors) - 1)
        whitening = (axes[:kept].T / scale).astype(np.float32)
        bank = ((vectors - mean) @ whitening).astype(np.float16).astype(np.float32)
        return cls(mean.astype(np.float32), whitening, bank, 1.0)

    def with_fields(self, vectors: FloatArray, *, limit: float | None = None) -> View:
        """The same whitening with (n, d) more fields in the bank, and another limit where one is given."""
        points = ((vectors - self.mean) @ self.axes).astype(np.float16).astype(np.float32)
        return View(
            self.mean, self.axes, np.concatenate([self.bank, points]), self.limit if limit is None else limit
        )

    def left_out(self, vectors: FloatArray, folds: NDArray[np.intp]) -> FloatArray:
        """(n,) distances of (n, d) fields, each with the other folds in the bank and its own left out."""
        found = np.empty(len(vectors), np.float32)
        for fold in np.unique(folds):
            out = folds == fold
            found[out] = self.with_fields(vectors[~out]).distance(vectors[out])
        return found

    def embedded(self, vector: FloatArray) -> FloatArray:
        """(d,) -> (m,) whitened: where it lies among the training images."""
        return np.asarray((vector - self.mean) @ self.axes, np.float32)

    def distance(self, vectors: FloatArray) -> FloatArray:
        """(n, d) -> (n,) mean distance to the nearest training fields, per whitened dimension, over the limit."""
        points = (np.atleast_2d(vectors) - self.mean) @ self.axes
        squared = (points**2).sum(1)[:, None] + (self.bank**2).sum(1)[None] - 2 * points @ self.bank.T
        nearest = np.sqrt(np.maximum(np.partition(squared, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS], 0))
        return np.asarray(nearest.mean(axis=1) / np.sqrt(self.axes.shape[1]) / self.limit, np.float32)


@dataclass(frozen=True)
class Domain:
    """The gate of a bundle.

    Attributes:
        features, appearance: the two views. held_out: (n,) sorted scores of the held-out fields.
    """

    features: View
    appearance: View
    held_out: FloatArray

    threshold: float = 1.0

    def score(self, features: FloatArray, seen: FloatArray) -> FloatArray:
        """(n, c) pooled features and (n, 24) appearances -> (n,) domain scores; at most `threshold` is inside."""
        return np.maximum(self.features.distance(features), self.appearance.distance(seen))

    def percentile(self, score: float) -> float:
        """Share of held-out fields with a lower score, 0..100."""
        return float(100.0 * np.searchsorted(self.held_out, score) / len(self.held_out))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """For the bundle's `serving.npz`."""
        stored: dict[str, NDArray[np.generic]] = {"domain_held_out": self.held_out.astype(np.float32)}
        for name in ("features", "appearance"):
            view: View = getattr(self, name)
            stored[f"domain_{name}_mean"] = view.mean
            stored[f"domain_{name}_axes"] = view.axes
            stored[f"domain_{name}_bank"] = view.bank.astype(np.float16)
            stored[f"domain_{name}_limit"] = np.array(view.limit, np.float64)
        return stored

    def widened(
        self, features: FloatArray, seen: FloatArray, folds: NDArray[np.intp], *, keep: float
    ) -> tuple[Domain, FloatArray]:
        """The gate with a site's images among its fields, and the scores (n,) of those images by their left-out folds.

        The images join both banks, and each limit rises as far as `keep` of the images ask for when their own fold
        is left out of the bank, to `MOST_WIDENING` times itself at most. No limit falls and no bank shrinks, so
        whatever was inside stays inside. The held-out scores become those of the site's images.

        Args:
            features, seen: (n, c) pooled features and (n, 24) appearances of the site's images.
            folds: (n,) fold numbers; images that belong together lie in one fold.
            keep: share of them to keep, 0..1.
        """
        views = (self.features, self.appearance)
        vectors = (features, seen)
        distances = [view.left_out(of_view, folds) for view, of_view in zip(views, vectors, strict=True)]
        needed = _joint_limits(distances, keep)
        factors = [min(max(1.0, limit), MOST_WIDENING) for limit in needed]
        wide = [
            view.with_fields(of_view, limit=view.limit * factor)
            for view, of_view, factor in zip(views, vectors, factors, strict=True)
        ]
        scores = np.maximum(*(d / np.float32(factor) for d, factor in zip(distances, factors, strict=True)))
        return Domain(wide[0], wide[1], np.sort(scores), self.threshold), scores

    @classmethod
    def from_arrays(cls, stored: Mapping[str, NDArray[np.generic]]) -> Domain:
        def view(name: str) -> View:
            return View(
                np.asarray(stored[f"domain_{name}_mean"], np.float32),
                np.asarray(stored[f"domain_{name}_axes"], np.float32),
                np.asarray(stored[f"domain_{name}_bank"], np.float32),
                float(stored[f"domain_{name}_limit"]),
            )

        return cls(view("features"), view("appearance"), np.asarray(stored["domain_held_out"], np.float32))


def fit_domain(
    *,
    training: tuple[FloatArray, FloatArray],
    held_out: tuple[FloatArray, FloatArray],
    keep: float = 0.98,
) -> Domain:
    """Fit both views on training fields and set their limits so that `keep` of the held-out fields is inside.

    Args:
        training, held_out: pooled features (n, c) and appearances (n, 24) of each part's fields.
        keep: share of held-out fields kept, 0..1. Both limits sit at the same percentile of their own view, the
            lowest one at which the two together keep that share.
    """
    views = [
        View.fit(vectors, dimensions=dimensions)
        for vectors, dimensions in zip(training, (FEATURE_DIMENSIONS, training[1].shape[1]), strict=True)
    ]
    distances = [view.distance(vectors) for view, vectors in zip(views, held_out, strict=True)]
    limits = _joint_limits(distances, keep)
    features, seen = (View(v.mean, v.axes, v.bank, limit) for v, limit in zip(views, limits, strict=True))
    domain = Domain(features, seen, np.empty(0, np.float32))
    return Domain(features, seen, np.sort(domain.score(*held_out)))


def fit_domain_for_strangers(
    *,
    training: tuple[FloatArray, FloatArray],
    held_out: tuple[FloatArray, FloatArray],
    labels: tuple[NDArray[np.intp], NDArray[np.intp]],
    sources: tuple[Sequence[str], Sequence[str]],
    keep: float,
    keep_strangers: float,
) -> Domain:
    """`fit_domain`, its limits raised so that images of a source held out would pass too.

    Each source in turn is a stranger to the others' training images, and its held-out images of classes that those
    have set limits at which `keep_strangers` of them pass. The largest of all limits counts, view by view.

    Args:
        labels, sources: (n,) class numbers and names of both parts' images.
        keep, keep_strangers: shares of images to keep, 0..1.
    """
    own = fit_domain(training=training, held_out=held_out, keep=keep)
    limits = [(own.features.limit, own.appearance.limit)]
    learnt, held = (np.asarray(names) for names in sources)
    for source in np.unique(held):
        others = learnt != source
        mine = (held == source) & np.isin(labels[1], np.unique(labels[0][others]))
        if min(others.sum(), mine.sum()) < LEAST_STRANGERS:
            continue
        strange = fit_domain(
            training=(training[0][others], training[1][others]),
            held_out=(held_out[0][mine], held_out[1][mine]),
            keep=keep_strangers,
        )
        limits.append((strange.features.limit, strange.appearance.limit))
    features, seen = (
        View(view.mean, view.axes, view.bank, max(limit[place] for limit in limits))
        for place, view in enumerate((own.features, own.appearance))
    )
    wide = Domain(features, seen, np.empty(0, np.float32))
    return Domain(features, seen, np.sort(wide.score(*held_out)))


def _joint_limits(distances: Sequence[FloatArray], keep: float) -> list[float]:
    """A limit for each of two views' (n,) distances, at the lowest percentile at which both keep `keep` of them."""
    ranks = [np.argsort(np.argsort(d)) / max(1, len(d) - 1) for d in distances]
    quantile = float(np.quantile(np.maximum(*ranks), keep, method="higher"))
    return [float(np.quantile(d, quantile, method="higher")) for d in distances]
