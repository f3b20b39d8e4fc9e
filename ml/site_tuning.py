"""Fine-tuning a bundle's last dense block on a site's images: the way that goes furthest.

The block learns from cached features of the frozen part, in a few varied views of each image. Its normalisation
keeps the statistics it has: so few images have none worth the name. Because the features change with it, the gate
has to be measured anew on the images the bundle was made from; where they are not at hand this way is closed.
Imports TensorFlow.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.bundle import Bundle, seal
from ml.data.augmentation import augmentation_of
from ml.data.manifest import Item
from ml.data.preparing import corrected_images
from ml.domain import fit_domain, pooled_features
from ml.export import export_network
from ml.features import Frozen, cached_features
from ml.head_export import HeadProblem
from ml.head_fitting import IntArray
from ml.heads import HeadWeights, scheduled
from ml.imaging.reading import read_image
from ml.network import LOGITS_LAYER
from ml.pictures import scale_stated
from ml.runtimes import Runtime, open_runtime
from ml.search import Setting
from ml.site_fitting import DOMAIN_KEEP, own_head
from ml.site_images import FloatArray, OwnImages, see
from ml.stepping import Stepper

SETTING = Setting(
    learning_rate=1e-4, optimiser="adamw", batch_size=16, dropout=0.2, weight_decay=1e-4, label_smoothing=0.0
)
EPOCHS = 12
VIEWS = 3


class BlockTuner:
    """Trains the last block and the head of one bundle on one site's images, afresh each time it is asked."""

    def __init__(
        self,
        bundle: Bundle,
        items: Sequence[Item],
        membership: FloatArray,
        *,
        work: Path,
        seed: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Computes the features of n images with labels (n, k) into `work`.

        Raises:
            TrainingProblem: the features cannot be kept, or there is no room for them.
        """
        self._bundle, self._membership, self._seed = bundle, membership, seed
        self._model = keras.saving.load_model(bundle.path / "model.keras", compile=False)
        self._frozen = Frozen(self._model)
        for layer in self._frozen.tail.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        preprocessing = bundle.preparation
        images = corrected_images(items, preprocessing)
        features = partial(
            cached_features,
            self._frozen,
            images,
            preprocessing=preprocessing,
            size=preprocessing.size,
            cache=work,
            progress=progress,
        )
        self._plain = features().pool4[0]
        self._views = features(augmentation=augmentation_of(bundle.task), views=VIEWS, seed=seed).pool4
        head = own_head(bundle)
        # In the calibrated scale, where a loss in nats means what it says.
        self._stepper = Stepper(
            self._frozen.tail,
            HeadWeights(
                (head.kernel / head.temperature).astype(np.float32),
                (head.bias / head.temperature).astype(np.float32),
            ),
        )

    def left_out(self, folds: IntArray) -> NDArray[np.float64]:
        """(n, k) calibrated logits, each image's from a training without its fold (n,)."""
        logits = np.empty(self._membership.shape, np.float64)
        for fold in np.unique(folds):
            out = folds == fold
            self._train(np.flatnonzero(~out))
            logits[out] = self._stepper.logits(tf.constant(self._plain[out].astype(np.float32)))
        return logits

    def write(
        self, folder: Path, own: OwnImages, *, progress: Callable[[int], None] = lambda done: None
    ) -> Bundle:
        """Train on all images and seal a bundle in a new folder: the tuned network with a gate of its own features.

        Raises HeadProblem where the weights cannot be stored.
        """
        self._train(np.arange(len(self._membership)))
        for layer in self._frozen.tail.layers:
            if layer.weights:
                self._model.get_layer(layer.name).set_weights(layer.get_weights())
        bundle, head = self._bundle, self._stepper.head
        scale = np.float32(bundle.temperature)
        self._model.get_layer(LOGITS_LAYER).set_weights([head.kernel * scale, head.bias * scale])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            arrays = {**bundle.arrays, **export_network(self._model, folder)}
        except OverflowError as error:
            raise HeadProblem("A weight of the fine-tuned block is too large to be stored.") from error
        facts = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format")}
        runtime = open_runtime(Bundle(folder, facts, sha256=""), "openvino")
        seen = self._gate_views(runtime, own, progress)
        keep = float(bundle.thresholds.get("domain_keep", DOMAIN_KEEP))
        arrays |= fit_domain(training=seen[0], held_out=seen[1], keep=keep).arrays()
        np.savez(folder / "serving.npz", allow_pickle=False, **arrays)
        card = bundle.path / "card.md"
        if card.is_file():
            shutil.copyfile(card, folder / "card.md")
        return seal(folder, facts)

    def _gate_views(
        self, runtime: Runtime, own: OwnImages, progress: Callable[[int], None]
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Pooled features and appearances of the training and the validation images, by the tuned network."""
        found, done = [], 0
        for part in (own.train, own.validation):
            rows = []
            for item in part:
                rows.append(see(self._bundle, runtime, read_image(item.path).pixels, scale_stated(item)))
                done += 1
                progress(done)
            features = np.stack([pooled_features(row.pooled[None, None]) for row in rows])
            found.append((features, np.stack([row.appearance for row in rows])))
        return found

    def _train(self, places: IntArray) -> None:
        self._stepper.begin(SETTING, seed=self._seed)
        rng = np.random.default_rng((self._seed, 2))
        batches = list(self._batches(places, rng))
        for step, batch in enumerate(batches):
            views = rng.integers(len(self._views), size=len(batch))
            maps = np.stack([self._views[view, place] for view, place in zip(views, batch, strict=True)])
            self._stepper.step(
                tf.constant(maps.astype(np.float32)),
                self._membership[batch],
                np.ones(len(batch), np.float32),
                SETTING.learning_rate * scheduled(step, len(batches)),
            )

    def _batches(self, places: IntArray, rng: np.random.Generator) -> Iterator[IntArray]:
        for _ in range(EPOCHS):
            order = rng.permutation(places)
            for begin in range(0, len(order), SETTING.batch_size):
                yield order[begin : begin + SETTING.batch_size]
