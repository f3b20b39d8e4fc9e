"""Is the saliency true? The measurements tell a map that means something from one that does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ml.data.manifest import Item
from ml.evaluation.cascade import DRAWS, STAGES, rank_correlation
from ml.evaluation.faithfulness import draw_evenly, measure_faithfulness
from ml.evaluation.predictions import EvaluationError
from ml.evaluation.words import SALIENCY_METRICS
from ml.imaging.preprocessing import Preprocessing

SIZE = 112
GRID = 7
BACKGROUND = (240, 238, 243)
NUCLEUS = (95, 70, 190)


class SpotRuntime:
    """Sees violet: channel 0 of its map is how violet each cell is, channel 1 the opposite."""

    name = "spots"
    device = "none"

    def run(self, images):
        # Normalised green is low where it is violet.
        violet = np.clip(1.5 - images[..., 1], 0, None)
        cells = np.stack([cv2.resize(one, (GRID, GRID), interpolation=cv2.INTER_AREA) for one in violet])
        cells = np.maximum(cells - cells.min(), 0)
        maps = np.stack([cells, cells.max() - cells], axis=-1).astype(np.float32)
        amount = np.stack([violet.mean(axis=(1, 2)) * 20 + 0.1, np.zeros(len(images))], axis=1)
        return maps, amount.astype(np.float32)


class Noise:
    """Networks drawn anew that have forgotten everything."""

    def answers(self, images, stage, rng, draws):
        for _ in range(draws):
            yield rng.random((len(images), GRID, GRID, 2)).astype(np.float32), np.eye(2, dtype=np.float32)


class Stubborn:
    """Networks drawn anew whose maps stay what they were: the map never depended on the weights."""

    def answers(self, images, stage, rng, draws):
        for _ in range(draws):
            yield SpotRuntime().run(images)[0], np.eye(2, dtype=np.float32)


def bundle(head=((1.0, 0.0), (0.0, 1.0))):
    return SimpleNamespace(
        name="spots",
        task="field",
        path=Path("nowhere"),
        preparation=Preprocessing(size=SIZE, denoise_sigma=0, clahe_clip=0, scale_bar=(0.0, 0.0)),
        temperature=1.0,
        arrays={"head_kernel": np.asarray(head, np.float32)},
    )


LOOKS_AWAY = ((0.0, 1.0), (1.0, 0.0))
"""A head whose map of the class given is bright where there is nothing violet."""


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> list[Item]:
    """Twelve fields of two labels in six groups, each with a few nuclei away from the middle."""
    folder = tmp_path_factory.mktemp("spots")
    rng = np.random.default_rng(0)
    found = []
    for number in range(12):
        pixels = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
        for _ in range(3):
            corner = rng.choice([20, SIZE - 20], 2)
            centre = tuple(int(v) for v in corner + rng.integers(-6, 7, 2))
            cv2.circle(pixels, centre, 11, NUCLEUS, -1)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels[..., ::-1])
        found.append(Item(path, path.name, ("one", "other")[number % 2], f"g{number // 2}"))
    return found


def measured(items, *, head=((1.0, 0.0), (0.0, 1.0)), networks=None, **options):
    return measure_faithfulness(
        bundle(head), items, seed=1, runtime=SpotRuntime(), networks=networks or Noise(), resamples=200, **options
    )  # fmt: skip


def test_a_map_that_follows_the_nuclei_is_told_from_chance(items):
    found = measured(items)
    assert found["saliency_on_leukocytes_gain"].low > 0
    assert found["saliency_on_leukocytes"].value <= found["saliency_on_leukocytes_best"].value + 0.02
    assert found["saliency_peak_on_leukocytes"].value > 0.5
    assert found["saliency_deletion_gain/shuffled"].low > 0
    assert found["saliency_insertion_gain/shuffled"].low > 0
    assert found["saliency_insertion_gain/centre"].low > 0


def test_a_map_that_looks_away_is_told_too(items):
    found = measured(items, head=LOOKS_AWAY)
    assert found["saliency_on_leukocytes_gain"].high < 0
    assert found["saliency_deletion_gain/shuffled"].high < 0
    peak = found["saliency_peak_on_leukocytes"]
    assert (peak.value, peak.method) == (0, "wilson")
    assert peak.high > 0.1


def test_weights_drawn_anew_destroy_a_map_that_depends_on_them(items):
    figure = measured(items)["saliency_randomised_correlation"]
    assert figure.low <= figure.value <= figure.high < 0.3
    assert abs(figure.value) < 0.15


def test_a_map_that_survives_them_is_found_out(items):
    found = measured(items, networks=Stubborn())
    assert found["saliency_randomised_correlation"].value == pytest.approx(1.0)
    assert found["saliency_cascade/head"].value == pytest.approx(1.0)


class OtherHeads:
    """Features stay, and the drawn heads have weights of both signs: Grad-CAM alone can tell."""

    def __init__(self, head):
        self.head = np.asarray(head, np.float32)

    def answers(self, images, stage, rng, draws):
        for _ in range(draws):
            yield SpotRuntime().run(images)[0], self.head


def test_the_method_shown_first_and_the_one_beside_it_are_told_apart(items):
    found = measured(items, networks=OtherHeads([[1, -1], [-1, 1]]))
    for name in ("saliency_cascade/head", "saliency_randomised_correlation"):
        assert found[f"{name}@gradcam++"].value == pytest.approx(1)
        assert found[name].value < 0.99
    assert found.by_network["whole@gradcam++"] == pytest.approx(np.ones(DRAWS["whole"]))
    assert "map@gradcam++" in found.curves["deletion"]


def test_an_empty_map_counts_as_no_correlation_and_is_told(items):
    found = measured(items, networks=OtherHeads([[-1, 0], [0, -1]]))
    assert found["saliency_randomised_correlation"].value == 0
    assert found["saliency_randomised_blank"].value == 1
    assert found["saliency_blank"].value == 0


def test_figures_have_names_in_words_their_images_and_come_out_the_same_again(items):
    found = measured(items, split="blocks, test part")
    assert {figure.name for figure in found.figures} == set(SALIENCY_METRICS)
    for figure in found.figures:
        assert (figure.n, figure.groups) == (12, 6)
        assert figure.split == "blocks, test part, 12 images drawn evenly by class"
        assert figure.low <= figure.value <= figure.high
    assert measured(items, split="blocks, test part").figures == found.figures


def test_curves_begin_and_end_where_nothing_and_all_is_done(items):
    curves = measured(items).curves
    for order in ("map", "shuffled", "centre"):
        assert curves["deletion"][order][0] == pytest.approx(curves["insertion"][order][-1])
    ends = {round(float(values[-1]), 9) for values in curves["deletion"].values()}
    assert len(ends) == 1


def test_networks_count_in_the_interval(items, monkeypatch):
    """Images agree about a network, and networks differ: an interval over images alone would be too narrow."""

    class Moody:
        def answers(self, images, stage, rng, draws):
            for draw in range(draws):
                maps = SpotRuntime().run(images)[0]
                yield maps if draw % 2 else maps[..., ::-1], np.eye(2, dtype=np.float32)

    figure = measured(items, networks=Moody())["saliency_randomised_correlation"]
    assert abs(figure.value) < 0.05
    assert figure.high - figure.low > 0.5


def test_images_are_drawn_evenly_by_class():
    items = [Item(Path(str(i)), str(i), "rare" if i < 3 else "common", "g") for i in range(40)]
    chosen = draw_evenly(items, 10, np.random.default_rng(0))
    assert sorted(item.label for item in chosen) == ["common"] * 7 + ["rare"] * 3
    assert [int(item.name) for item in chosen] == sorted(int(item.name) for item in chosen)
    assert len(draw_evenly(items, 100, np.random.default_rng(0))) == 40


def test_one_group_alone_has_no_interval(items):
    alone = [Item(item.path, item.name, item.label, "g") for item in items[:4]]
    figure = measured(alone)["saliency_on_leukocytes"]
    assert figure.method == "none"
    assert np.isnan(figure.low)


def test_a_map_without_contrast_correlates_with_nothing():
    flat, other = np.zeros((7, 7), np.float32), np.arange(49, dtype=np.float32).reshape(7, 7)
    assert rank_correlation(flat, other) == 0
    assert rank_correlation(other, other**3) == pytest.approx(1)


def test_unreadable_images_are_passed_over_and_none_at_all_is_an_error(items, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    bad = Item(broken, "broken.png", "one", "g9")
    assert measured([*items[:4], bad])["saliency_on_leukocytes"].n == 4
    with pytest.raises(EvaluationError, match="No image"):
        measured([bad])


def test_the_networks_drawn_anew_forget_from_the_top(drawn_bundle):
    """On a real network: the head alone leaves features as they are, the whole network none; weights come back."""
    from ml.evaluation.randomised import RandomisedNetwork

    bundle, _, _ = drawn_bundle
    network = RandomisedNetwork(bundle)
    own = [weight.copy() for weight in network._model.get_weights()]
    images = np.random.default_rng(0).normal(size=(4, 64, 64, 3)).astype(np.float32)
    maps = {
        stage: next(iter(network.answers(images, stage, np.random.default_rng(5), 1))) for stage in STAGES
    }
    from ml.network import with_feature_map

    expected = with_feature_map(network._model)(images, training=False)[0].numpy()
    assert np.allclose(maps["head"][0], expected, atol=1e-4)
    for stage in ("block5", "block4", "block3", "whole"):
        assert not np.allclose(maps[stage][0], expected, atol=1e-2), stage
        assert np.isfinite(maps[stage][0]).all()
    for before, after in zip(own, network._model.get_weights(), strict=True):
        assert np.array_equal(before, after)
    assert not np.allclose(maps["head"][1], bundle.arrays["head_kernel"], atol=1e-2)


def test_every_layer_is_in_the_step_its_name_says(drawn_bundle):
    from ml.evaluation.randomised import RandomisedNetwork, _depth

    layers = [layer for layer in RandomisedNetwork(drawn_bundle[0])._model.layers if layer.weights]
    found = {layer.name: _depth(layer) for layer in layers}
    assert found["logits"] == 6
    assert found["bn"] == 5
    assert {depth for name, depth in found.items() if name.startswith("conv4")} == {4}
    assert {depth for name, depth in found.items() if name.startswith("pool4")} == {5}
    assert set(found.values()) == {1, 2, 3, 4, 5, 6}
    assert min(DRAWS.values()) > 1
