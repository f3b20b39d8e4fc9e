"""How the pictures look that a model was validated on: the yardstick for the drift of what comes in later.

`references/*.json` keeps, for a bundle's validation images, what `ml.imaging.quality` measured of each one. It stands
beside the bundles and not in them, so that a bundle that is sealed already has one; it is found by the images' hashes,
never by a name. ``python -m ml.input_reference BUNDLE DATA`` makes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REFERENCES = Path(__file__).parent / "references"
MEASURES = ("focus", "brightness", "stain")
DIGITS = 4


@dataclass(frozen=True)
class InputReference:
    """What was measured of each validation image: sharpness (a ratio), background brightness (0 to 255) and the share
    of nuclei (0 to 1), each sorted. `images` is `digest` of their hashes; `groups` counts the blocks they come from.
    """

    data: str
    split: str
    images: str
    n: int
    groups: int
    measures: dict[str, list[float]]


def digest(hashes: Iterable[str]) -> str:
    """SHA-256 of a set of image hashes, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(hashes))).encode()).hexdigest()


def comparable(checks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of an image's quality checks, the values that can be compared from image to image.

    A failed check may hold another measure than a passed one (of exposure the share of white, of stain the
    colourfulness): such a value is left out, and the failure is counted elsewhere.
    """
    found: dict[str, float] = {}
    for check in checks:
        name, value, message = check["name"], float(check["value"]), check["message"]
        if name == "focus":
            found["focus"] = value
        elif name == "exposure" and message in ("well exposed", "too dark"):
            found["brightness"] = value
        elif name == "stain" and message != "no stain colour":
            found["stain"] = value
    return found


def reference_of(validation_sha256: Sequence[str], folder: Path = REFERENCES) -> InputReference | None:
    """The reference made of just these images; None where nobody has made one."""
    wanted = digest(validation_sha256)
    for path in sorted(folder.glob("*.json")):
        kept = InputReference(**json.loads(path.read_text()))
        if kept.images == wanted:
            return kept
    return None


def measure(bundle: Path, data: Path) -> InputReference:
    """Measure the validation images of a bundle, found in the data set by their hashes.

    Raises:
        LookupError: where one of them is missing there.
    """
    from ml.data.manifest import load_manifest
    from ml.imaging.quality import assess_quality
    from ml.imaging.reading import read_image

    manifest = json.loads((bundle / "bundle.json").read_text())
    wanted = set(manifest["data"]["validation_sha256"])
    items = {item.sha256: item for item in load_manifest(data) if item.sha256 in wanted}
    if len(items) < len(wanted):
        raise LookupError(
            f"{len(wanted) - len(items)} of the {len(wanted)} validation images are not in {data.name}."
        )
    measures: dict[str, list[float]] = {name: [] for name in MEASURES}
    for item in items.values():
        report = assess_quality(read_image(item.path).pixels)
        for name, value in comparable([asdict(check) for check in report.checks]).items():
            measures[name].append(round(value, DIGITS))
    return InputReference(
        data=manifest["data"]["name"],
        split=f"{manifest['data']['split']['name']}, validation part",
        images=digest(wanted),
        n=len(items),
        groups=len({item.group for item in items.values()}),
        measures={name: sorted(values) for name, values in measures.items()},
    )


def main() -> None:
    """Measure and write ``references/BUNDLE.json``."""
    parser = argparse.ArgumentParser(prog="python -m ml.input_reference", description=main.__doc__)
    parser.add_argument("bundle", type=Path, help="folder of a field bundle")
    parser.add_argument("data", type=Path, help="folder of the data set that its validation images come from")
    given = parser.parse_args()
    found = measure(given.bundle, given.data)
    REFERENCES.mkdir(exist_ok=True)
    place = REFERENCES / f"{given.bundle.name}.json"
    place.write_text(json.dumps(asdict(found), separators=(",", ":")) + "\n")
    print(f"{found.n} images in {found.groups} groups: {place}")


if __name__ == "__main__":
    main()
