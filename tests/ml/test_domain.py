"""The gate: what lies among the training fields is inside, what lies far away is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.domain import MOST_WIDENING, Domain, appearance, fit_domain, pooled_features
from ml.drawing import draw_field


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 200)) * 3

    def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        r = np.random.default_rng(seed)
        which = r.integers(0, 4, n)
        features = (centres[which] + r.normal(size=(n, 200))).astype(np.float32)
        return features, r.normal(size=(n, 24)).astype(np.float32)

    return sample


@pytest.fixture(scope="module")
def domain(clusters) -> Domain:
    return fit_domain(training=clusters(400, 1), held_out=clusters(300, 2), keep=0.96)


def test_it_keeps_the_share_of_held_out_fields_it_was_told_to(clusters, domain):
    kept = domain.score(*clusters(300, 2)) <= domain.threshold
    assert kept.mean() >= 0.96
    assert kept.mean() <= 0.98
    assert (domain.score(*clusters(1000, 3)) <= domain.threshold).mean() > 0.9


def test_either_view_alone_can_turn_an_image_away(clusters, domain):
    features, seen = clusters(50, 4)
    far_features = features + 40
    assert (domain.score(far_features, seen) > domain.threshold).all()
    assert (domain.score(features, seen + 12) > domain.threshold).all()


def test_its_percentile_counts_held_out_fields(domain):
    assert domain.percentile(-1.0) == 0
    assert domain.percentile(1e9) == 100
    assert 40 < domain.percentile(float(np.median(domain.held_out))) < 60


def test_it_survives_storage(clusters, domain):
    again = Domain.from_arrays(domain.arrays())
    assert np.allclose(again.score(*clusters(20, 5)), domain.score(*clusters(20, 5)), atol=1e-6)


def test_pooled_features_have_length_one():
    pooled = pooled_features(np.random.default_rng(0).random((7, 7, 32), dtype=np.float32))
    assert pooled.shape == (32,)
    assert np.linalg.norm(pooled) == pytest.approx(1, abs=1e-6)
    assert np.isfinite(pooled_features(np.zeros((7, 7, 32), np.float32))).all()


def test_appearance_sees_stain_and_size_but_hardly_the_compression():
    field = cv2.resize(
        draw_field(np.random.default_rng(1), width=640, height=480), (224, 224), interpolation=cv2.INTER_AREA
    )
    _, packed = cv2.imencode(".jpg", field, [cv2.IMWRITE_JPEG_QUALITY, 85])
    recompressed = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    zoomed = cv2.resize(field[56:168, 56:168], (224, 224), interpolation=cv2.INTER_CUBIC)
    pinker = np.clip(field * np.array([1.0, 0.8, 1.0]), 0, 255).astype(np.uint8)
    base = appearance(field)
    assert base.shape == (24,)
    assert base.dtype == np.float32
    moved = [float(np.abs(appearance(p) - base).mean()) for p in (recompressed, zoomed, pinker)]
    assert moved[0] < 0.4 * min(moved[1:])


def test_appearance_of_a_blank_picture_is_finite():
    assert np.isfinite(appearance(np.zeros((224, 224, 3), np.uint8))).all()


@pytest.fixture(scope="module")
def site(clusters):
    """Images of a site that lies beside the training fields, and others of the same."""

    def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        features, seen = clusters(n, seed)
        return features, seen + np.float32(4.0)

    return sample


def test_a_site_that_joins_is_inside_and_what_was_inside_stays(clusters, domain, site):
    new = site(200, 11)
    assert (domain.score(*new) > domain.threshold).mean() > 0.9
    wide, scores = domain.widened(*site(60, 10), np.arange(60) % 5, keep=0.97)
    assert (wide.score(*new) <= wide.threshold).mean() > 0.85
    assert (scores <= 1).mean() >= 0.97
    assert np.array_equal(wide.held_out, np.sort(scores))
    old = clusters(500, 12)
    assert (wide.score(*old) <= domain.score(*old) + 1e-5).all()


def test_a_site_does_not_open_the_gate_to_everyone(clusters, domain, site):
    wide, _ = domain.widened(*site(60, 10), np.arange(60) % 5, keep=0.97)
    features, seen = clusters(100, 13)
    assert (wide.score(features, seen - 12) > 1).all()
    assert (wide.score(features + 40, seen) > 1).all()


def test_one_odd_image_cannot_move_a_limit_far(domain, site):
    features, seen = site(20, 10)
    seen[0] += 500
    wide, scores = domain.widened(features, seen, np.arange(20) % 5, keep=0.97)
    for view in ("features", "appearance"):
        before, after = getattr(domain, view).limit, getattr(wide, view).limit
        assert before <= after <= MOST_WIDENING * before * 1.0001
    assert scores[0] > 1


def test_an_image_is_scored_without_its_own_fold(domain, site):
    """Copies in one fold: scored with themselves in the bank, all distances would be nothing."""
    features, seen = (np.repeat(part, 10, axis=0) for part in site(4, 10))
    _, alone = domain.widened(features, seen, np.repeat(np.arange(4), 10), keep=0.97)
    _, shared = domain.widened(features, seen, np.tile(np.arange(4), 10), keep=0.97)
    assert alone.min() > shared.max()
