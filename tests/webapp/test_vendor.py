"""The browser libraries: installed by npm, copied whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp import vendor


def modules(folder: Path) -> Path:
    build = folder / "node_modules/openseadragon/build/openseadragon"
    (build / "images").mkdir(parents=True)
    (build / "images" / "home_rest.png").write_bytes(b"png")
    for name in ("openseadragon.min.js", "openseadragon.min.js.map"):
        (build / name).write_text(name)
    (folder / "node_modules/openseadragon/LICENSE.txt").write_text("BSD")
    charts = folder / "node_modules/uplot"
    (charts / "dist").mkdir(parents=True)
    for name in ("dist/uPlot.esm.js", "dist/uPlot.min.css", "LICENSE"):
        (charts / name).write_text(name)
    return folder / "node_modules"


def test_it_copies_what_pages_load_with_its_licence_and_removes_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "static" / "vendor"
    (target / "old").mkdir(parents=True)
    vendor.copy_libraries(modules(tmp_path), target)
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()) == [
        "openseadragon/LICENSE.txt",
        "openseadragon/images/home_rest.png",
        "openseadragon/openseadragon.min.js",
        "openseadragon/openseadragon.min.js.map",
        "uplot/LICENSE",
        "uplot/uPlot.esm.js",
        "uplot/uPlot.min.css",
    ]


def test_a_missing_file_leaves_the_old_copy_in_place(tmp_path: Path) -> None:
    source = modules(tmp_path)
    (source / "openseadragon/LICENSE.txt").unlink()
    target = tmp_path / "vendor"
    (target / "old").mkdir(parents=True)
    with pytest.raises(vendor.VendorProblem, match=r"LICENSE\.txt is missing"):
        vendor.copy_libraries(source, target)
    assert (target / "old").exists()


def fake_node(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in ("node", "npm"):
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)
    return folder


def test_an_old_node_of_the_machine_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake_node(tmp_path / "old", "v12.22.0")))
    assert vendor.machine_npm() is None
    recent = fake_node(tmp_path / "recent", "v22.1.0")
    monkeypatch.setenv("PATH", str(recent))
    assert vendor.machine_npm() == ([str(recent / "npm")], {})


def test_npm_of_the_wheel_runs_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.setenv("PATH", "/usr/nonexistent")
    assert vendor.machine_npm() is None
    command, environment = vendor.wheel_npm()
    answer = subprocess.run(
        [*command, "--version"], env=environment, capture_output=True, text=True, check=True
    )
    assert int(answer.stdout.split(".")[0]) >= 9


def test_a_failing_npm_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no network here' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(vendor, "machine_npm", lambda: ([str(npm)], {}))
    with pytest.raises(vendor.VendorProblem, match="no network here"):
        vendor.npm_ci(tmp_path)
