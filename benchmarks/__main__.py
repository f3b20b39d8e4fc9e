"""`python -m benchmarks`: run all benchmarks, or those named, each in a process of its own."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from benchmarks.measuring import busy_warning, machine
from ml.bundle import SHIPPED

BENCHMARKS = {
    "prediction": "predict and explain one field, against model.predict and tf-keras-vis",
    "detection": "leukocytes of a 2592x1944 field",
    "cells": "a 2592x1944 field with 40 leukocytes from queue to stored result, and the gallery of 2,000 cells",
    "worker": "a worker's start and memory, and the web process's memory",
    "upload": "upload to visible result through the running application",
    "viewer": "from the opening of a case to its picture in the viewer",
    "report": "the PDF and the FHIR document of a case of 40 images through the running application",
    "pages": "every page over a drawn archive of 100,000 cases with 1,000,000 analyses in PostgreSQL",
    "training": "the input pipeline against bare training steps, a search's trials, memory for 2,775 fields",
}


def shipped_bundle() -> Path | None:
    """The bundle with the highest number among those that come with Leukoscope."""
    found = [path.parent for path in SHIPPED.glob("field-*/bundle.json")]
    return max(found, key=lambda path: (len(path.name), path.name), default=None)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and memory on this machine. Without names, all of: "
        + "; ".join(f"{name} ({what})" for name, what in BENCHMARKS.items())
        + ".",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--bundle", type=Path, default=shipped_bundle(), help="default: the newest shipped one"
    )
    parser.add_argument(
        "--repeats", type=int, default=24, metavar="N", help="fields a benchmark (default 24)"
    )
    parser.add_argument(
        "--cases",
        type=int,
        default=100_000,
        metavar="N",
        help="of the archive for the pages (default 100,000)",
    )
    parser.add_argument("--database", metavar="URL", help="a PostgreSQL with such an archive, for the pages")
    parser.add_argument("--threads", type=int, help="OpenVINO's threads in the prediction benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: var/bench/<date and time>.json")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if options.bundle is None:
        parser.error(f"no bundle lies in {SHIPPED}: name one with --bundle")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def main() -> int:
    options = parse()
    names = options.names or list(BENCHMARKS)
    circumstances = machine()
    if len(names) == 1:
        report = importlib.import_module(f"benchmarks.{names[0]}").run(options)
        report.show()
        if options.json:
            report.write(options.json)
        return 0
    print(f"{circumstances['processor']}, {circumstances['cores']} cores, Python {circumstances['python']}")
    if warning := busy_warning(circumstances):
        print(warning)
    reports, failed = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            part = Path(scratch) / f"{name}.json"
            command = [sys.executable, "-m", "benchmarks", name, "--bundle", str(options.bundle.resolve())]
            command += ["--repeats", str(options.repeats), "--json", str(part)]
            command += ["--cases", str(options.cases)]
            if options.database:
                command += ["--database", options.database]
            if options.threads:
                command += ["--threads", str(options.threads)]
            if subprocess.run(command, check=False).returncode == 0:
                reports[name] = json.loads(part.read_text())
            else:
                failed.append(name)
    target = options.json or Path("var/bench") / f"{datetime.now():%Y-%m-%dT%H%M%S}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"machine": circumstances, "reports": reports}, indent=1) + "\n")
    print(f"\nWritten to {target}.")
    if failed:
        print(f"Not measured, for the reason above: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
