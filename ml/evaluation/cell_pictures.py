"""Single cells as a study of variants sees them: cropped once, then cut out, stained anew, and looked at by a network.

What takes long is kept under `LEUKOSCOPE_CACHE`: crops with their masks by source, and pooled features by source,
variant and network. Imports TensorFlow where features are computed, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.cutout import CROP_UM, alone, square, square_mask
from ml.cells.normalisation import macenko, measure_reinhard, reinhard
from ml.cells.single import find_cell, without_black
from ml.data.cells import DEEPAPL, PBC, Cells
from ml.data.manifest import MICROMETRES, DataProblem, Item
from ml.evaluation.repaint import choose_targets, repaint, six_colour_numbers
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import UnreadableImage, read_image
from ml.saving import saved_whole

if TYPE_CHECKING:
    import keras

    from ml.features import Frozen

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Half = NDArray[np.float16]
Progress = Callable[[int, int], None]

REVISION: Final = 3
"""Raised when the same pictures would give other crops, masks or variants."""

SEED: Final = 20
BATCH: Final = 64
ADAPTING: Final = 2048
"""Cells from which the statistics of batch normalisation are estimated anew."""

CUTS: Final = ("natural", "cutout")
STAINS: Final = {"none": None, "reinhard": reinhard, "macenko": macenko}
SPOILT: Final = {
    "stain repainted to that of a cell of another class": "repaint",
    "blurred (Gaussian, 0.3 micrometres)": "blur",
    "JPEG of quality 40": "jpeg",
    "half the pixels, scale known": "half",
    "twice the pixels, scale known": "double",
    "scale misjudged, cells a fifth too small": "smaller",
    "scale misjudged, cells a fifth too large": "larger",
}
"""What is done to a picture before the cell is sought in it, in words and by the name it is cached under."""

BLUR_UM: Final = 0.3
JPEG_QUALITY: Final = 40
MISJUDGED: Final = 1.2


@dataclass(frozen=True)
class Variant:
    """How cells are shown to the network.

    Attributes:
        cut: `natural` with what surrounds them, or `cutout`. stain: `none`, `reinhard` or `macenko`.
        adapted: whether batch normalisation has statistics of cells, or ImageNet's.
    """

    cut: str
    stain: str
    adapted: bool

    @property
    def name(self) -> str:
        """As it is asked for on the command line: `cutout-reinhard-adapted`, say."""
        return f"{self.cut}-{self.stain}-{'adapted' if self.adapted else 'frozen'}"

    def show(self, crops: Pixels, masks: Mask) -> Pixels:
        """(n, S, S, 3) crops and (n, S, S) masks -> what the network is shown, (n, S, S, 3) uint8."""
        way = STAINS[self.stain]
        shown = []
        for pixels, mask in zip(crops, masks, strict=True):
            stained = pixels if way is None else way(pixels, mask)
            shown.append(alone(stained, mask) if self.cut == "cutout" else stained)
        return np.stack(shown)


VARIANTS: Final = tuple(
    Variant(cut, stain, adapted) for adapted in (False, True) for cut in CUTS for stain in STAINS
)


BASELINE: Final = Variant("measured", "none", False)
"""No network at all: the cell's area and the mean and deviation of its colour. Blasts are large and even, and how far
that alone goes belongs beside every network."""


@dataclass(frozen=True)
class Crops:
    """Cells in the middle of squares of the slide, all of the same micrometres.

    Attributes:
        pixels: (n, S, S, 3) uint8. masks: (n, S, S) bool. found: (n,) whether there was a cell to find.
        key: names the pictures, and what was done to them.
    """

    pixels: Pixels
    masks: Mask
    found: Mask
    key: str

    def __len__(self) -> int:
        return len(self.pixels)


def crops_of(
    items: Sequence[Item],
    *,
    size: int,
    cache: Path,
    spoilt: str = "",
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Crops:
    """Find and crop the cell of every picture, from the cache or now.

    Args:
        spoilt: one of `SPOILT`'s names, done to the picture first; empty for the picture as it is.
        seed: of the choice whose stain a picture is painted in.

    Raises:
        DataProblem: a picture cannot be read.
        TrainingProblem: the cache has no room.
    """
    facts = [REVISION, size, CROP_UM, spoilt, seed if spoilt == "repaint" else 0]
    told = json.dumps([*facts, *([item.sha256, item.columns[MICROMETRES]] for item in items)])
    key = hashlib.sha256(told.encode()).hexdigest()[:32]
    place = cache / f"crops-{key}.npz"
    if not place.exists():
        spoil = _spoiler(items, spoilt, seed)
        pixels = np.empty((len(items), size, size, 3), np.uint8)
        masks = np.empty((len(items), size, size), bool)
        found = np.empty(len(items), bool)
        for i, item in enumerate(items):
            picture, micrometres = spoil(i, _read(item), float(item.columns[MICROMETRES]))
            cell = find_cell(picture, micrometres)
            pixels[i] = square(without_black(picture), cell.centre, micrometres, size=size)
            masks[i] = square_mask(cell.mask, cell.centre, micrometres, size=size)
            found[i] = cell.found
            progress(i + 1, len(items))
        with saved_whole(place) as part:
            np.savez(part, pixels=pixels, masks=np.packbits(masks, axis=-1), found=found)
    with np.load(place) as kept:
        masks = np.unpackbits(kept["masks"], axis=-1, count=size).astype(bool)
        return Crops(kept["pixels"], masks, kept["found"], key)


def features_of(
    network: Network,
    crops: Crops,
    variant: Variant,
    *,
    cache: Path,
    progress: Progress = lambda done, total: None,
) -> NDArray[np.float32]:
    """(n, d) pooled features of a variant's pictures, from the cache or now.

    Kept as float16, which is finer than what any change of the picture moves.
    """
    if variant == BASELINE:
        return measurements(crops)
    facts = [REVISION, crops.key, variant.name, network.key]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    place = cache / f"pooled-{name}.npy"
    if not place.exists():
        frozen = network.frozen(variant)
        rows: list[Half] = []
        for begin in range(0, len(crops), BATCH):
            some = slice(begin, begin + BATCH)
            shown = variant.show(crops.pixels[some], crops.masks[some])
            rows.append(frozen.features(normalise(shown))[1].astype(np.float16))
            progress(min(begin + BATCH, len(crops)), len(crops))
        with saved_whole(place) as part:
            np.save(part, np.concatenate(rows))
    return np.asarray(np.load(place), np.float32)


def measurements(crops: Crops) -> NDArray[np.float32]:
    """(n, 8) of each cell: its area and the root of it as shares of the crop, and its colour's mean and deviation in
    CIELAB (0 where a mask is too small for these)."""
    rows = []
    for pixels, mask in zip(crops.pixels, crops.masks, strict=True):
        colour = measure_reinhard(pixels, mask)
        area = float(mask.mean())
        rows.append([area, area**0.5, *((*colour.mean, *colour.deviation) if colour else [0.0] * 6)])
    return np.asarray(rows, np.float32)


def adapting_crops(
    cells: Cells,
    *,
    size: int,
    cache: Path,
    count: int = ADAPTING,
    progress: Progress = lambda done, total: None,
) -> Crops:
    """Cells that batch normalisation is adapted to: as many of either hospital, drawn without their labels."""
    rng = np.random.default_rng(SEED)
    chosen: list[int] = []
    for source in (DEEPAPL.name, PBC.name):
        place = np.flatnonzero(cells.sources == source)
        chosen += np.sort(rng.permutation(place)[: count // 2]).tolist()
    items = [cells.manifest.items[i] for i in chosen]
    return crops_of(items, size=size, cache=cache, progress=progress)


class Network:
    """A network with frozen weights, as it is and with its batch normalisation adapted to a variant's pictures.

    Built when it is first needed: where all features are cached, TensorFlow stays out.

    Attributes:
        key: names the weights, and the cells that normalisation is adapted to.
    """

    def __init__(self, build: Callable[[], keras.Model], key: str, adapting: Callable[[], Crops]) -> None:
        """Take a maker of networks, a name for its weights, and a maker of the cells that it is adapted to."""
        self.key = key
        self._build, self._adapting = build, adapting
        self._kept: tuple[tuple[str, str] | None, Frozen] | None = None

    def frozen(self, variant: Variant) -> Frozen:
        """The network for a variant; the last one is kept."""
        from ml.features import Frozen

        wanted = (variant.cut, variant.stain) if variant.adapted else None
        if self._kept is None or self._kept[0] != wanted:
            model = self._build()
            if variant.adapted:
                crops = self._adapting()
                model = adapt_normalisation(model, variant.show(crops.pixels, crops.masks))
            self._kept = (wanted, Frozen(model))
        return self._kept[1]


def adapt_normalisation(model: keras.Model, pictures: Pixels, *, seed: int = 0) -> keras.Model:
    """The same network with statistics of batch normalisation estimated on other pictures, (n, S, S, 3) uint8.

    No label is used and no weight learnt (adaptive batch normalisation; Li et al. 2018). Every layer normalises by the
    batch, and its statistics become the plain mean over all batches.

    Args:
        model: made by `build_network`; left as it is.
        seed: of the order in which pictures are put into batches.
    """
    import keras

    from ml.network import at_size, blocks_of

    adapted = at_size(model, None, blocks=blocks_of(model))
    norms = [layer for layer in adapted.layers if isinstance(layer, keras.layers.BatchNormalization)]
    order = np.random.default_rng(seed).permutation(len(pictures))
    batch = min(BATCH, len(pictures))
    for number in range(len(pictures) // batch):
        for layer in norms:
            # A running mean over batches: the new one counts one in so many.
            layer.momentum = number / (number + 1)
        some = np.sort(order[number * batch : (number + 1) * batch])
        adapted(normalise(pictures[some]), training=True)
    return adapted


def _read(item: Item) -> Pixels:
    try:
        return read_image(item.path).pixels
    except UnreadableImage as error:
        raise DataProblem(f"{item.name} cannot be read: {error}") from error


def _spoiler(
    items: Sequence[Item], spoilt: str, seed: int
) -> Callable[[int, Pixels, float], tuple[Pixels, float]]:
    """(position, picture, micrometres a pixel) -> picture and scale as they are then given to the search."""
    if spoilt == "repaint":
        targets = choose_targets([item.label for item in items], np.random.default_rng(seed))
        return lambda i, pixels, um: (repaint(pixels, six_colour_numbers(_read(items[targets[i]]))), um)
    ways: dict[str, Callable[[Pixels, float], tuple[Any, float]]] = {
        "": lambda pixels, um: (pixels, um),
        "blur": lambda pixels, um: (cv2.GaussianBlur(pixels, (0, 0), BLUR_UM / um), um),
        "jpeg": lambda pixels, um: (_compressed(pixels), um),
        "half": lambda pixels, um: (
            cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
            2 * um,
        ),
        "double": lambda pixels, um: (
            cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
            um / 2,
        ),
        "smaller": lambda pixels, um: (pixels, um / MISJUDGED),
        "larger": lambda pixels, um: (pixels, um * MISJUDGED),
    }
    way = ways[spoilt]

    def spoil(i: int, pixels: Pixels, um: float) -> tuple[Pixels, float]:
        picture, scale = way(pixels, um)
        return np.asarray(picture, np.uint8), scale

    return spoil


def _compressed(pixels: Pixels) -> Pixels:
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    found = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(found[..., ::-1])
