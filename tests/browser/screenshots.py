"""`make screenshots`: every page, light and dark, at 1440 and 390 px, empty, full and broken.

They land in build/screenshots. With LEUKOSCOPE_DATA the cases show the public demo fields, else drawn ones.
What the pages say of them is made up by a stand-in for the network, unless the shipped model is asked for.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from diagnosis.models import Case, User

OUT = Path(__file__).resolve().parents[2] / "build" / "screenshots"
SIZES = {"1440": (1440, 900), "390": (390, 844)}
SCHEMES = ("light", "dark")


@contextmanager
def server() -> Iterator[str]:
    """The application on a free port, with its static files."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.test.testcases import LiveServerThread

    thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    yield f"http://127.0.0.1:{thread.port}"
    thread.terminate()


class Camera:
    """Takes pages in every scheme and size, as one person."""

    def __init__(self, browser: Browser, address: str, out: Path, only: str) -> None:
        self._browser, self._address, self._out, self._only = browser, address, out, only
        self.problems: list[str] = []

    def take(
        self,
        name: str,
        path: str,
        *,
        user: str | None = "hedy",
        keys: tuple[str, ...] = (),
        clicks: tuple[str, ...] = (),
        whole: bool = False,
        javascript: bool = True,
    ) -> None:
        """Take `path` as `user`, after `clicks` and `keys`; `whole` takes all of its length."""
        if self._only and self._only not in name:
            return
        for scheme in SCHEMES:
            for label, (width, height) in SIZES.items():
                context = self._browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    java_script_enabled=javascript,
                    reduced_motion="reduce",
                )
                page = context.new_page()
                page.on("console", lambda message, n=name: self._heard(n, message.type, message.text))
                page.on("pageerror", lambda error, n=name: self._heard(n, "error", str(error)))
                if user:
                    self._log_in(page, user)
                page.goto(self._address + path)
                page.wait_for_timeout(900)
                for selector in clicks:
                    page.click(selector)
                for key in keys:
                    page.keyboard.press(key)
                page.wait_for_timeout(500 if keys or clicks else 0)
                if javascript:
                    self._draw_pictures(page, name)
                wide = page.evaluate("document.documentElement.scrollWidth") if javascript else 0
                if wide > width:
                    self.problems.append(f"{name} {scheme} {label}: {wide} px wide")
                full = whole or width < 500
                page.screenshot(path=self._out / f"{name}-{scheme}-{label}.png", full_page=full)
                context.close()

    def _draw_pictures(self, page: Page, name: str) -> None:
        """Load what loads only once it is scrolled to, and tell what can't be drawn."""
        broken = page.evaluate(
            """async () => {
                const pictures = [...document.images].filter(picture => picture.currentSrc || picture.src);
                for (const picture of pictures) picture.loading = "eager";
                await Promise.allSettled(pictures.map(picture => picture.decode()));
                return pictures.filter(picture => !picture.naturalWidth).map(picture => picture.src);
            }"""
        )
        self.problems += [f"{name}: {source} can't be drawn" for source in broken]

    def _heard(self, name: str, kind: str, text: str) -> None:
        # The browser itself reports the 404 and 500 pages that are taken on purpose.
        if kind in ("error", "warning") and "status of" not in text:
            self.problems.append(f"{name}: {text}")

    def _log_in(self, page: Page, user: str) -> None:
        from tests.browser.scenes import PASSWORD

        page.goto(f"{self._address}/accounts/login")
        page.fill("#id_username", user)
        page.fill("#id_password", PASSWORD)
        page.click("button")
        page.wait_for_url(f"{self._address}/")


def main() -> None:
    """Make the laboratory, start the server, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", help="take only the pages whose name contains this")
    parser.add_argument("--shipped", action="store_true", help="let the shipped model answer, not a stand-in")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    logging.disable(logging.ERROR)
    bundles = Path(tempfile.mkdtemp(prefix="leukoscope-bundles-"))
    settings.LEUKOSCOPE_BUNDLES = bundles
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    call_command("migrate", verbosity=0)
    try:
        with server() as address, browser() as chromium:
            camera = Camera(chromium, address, options.out, options.only)
            take_all(camera, bundles, shipped=options.shipped)
    finally:
        shutil.rmtree(bundles, ignore_errors=True)
    for problem in camera.problems:
        print(problem)
    print(f"{len(list(options.out.glob('*.png')))} pictures in {options.out}")


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    from tests.conftest import CHROMIUM_ARGUMENTS, chromium_path

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


def take_all(camera: Camera, bundles: Path, *, shipped: bool) -> None:
    """Every page: first of an empty installation, then at work, then with its model broken."""
    from diagnosis.models import Case
    from diagnosis.services import intake
    from ml.bundle import SHIPPED
    from tests import stand_in
    from tests.browser.cell_scenes import cells_at_work
    from tests.browser.scenes import Shipped, Told, at_work, people

    cast = people()
    camera.take("login", "/accounts/login", user=None)
    camera.take("worklist-empty", "/")
    camera.take("history-empty", "/history")
    camera.take("models-empty", "/models", user="ada")
    model: Shipped | Told
    if shipped:
        shutil.copytree(SHIPPED / "field-1", bundles / "field-1")
        model = Shipped(bundles / "field-1")
    else:
        model = Told(stand_in.make_bundle(bundles).path)
    data = os.environ.get("LEUKOSCOPE_DATA")
    main_case = at_work(cast, model, Path(data) if data else None)
    empty = intake.create_case(user=cast["tina"], accession_number="26-11900", patient_code="P-4600")
    images = {image.position: image for image in main_case.images.all()}
    last = max(images)
    page = f"/cases/{main_case.pk}"
    camera.take("worklist", "/", user="tina")
    camera.take("worklist-all", "/?show=all&page=1")
    camera.take("new-case", "/cases/new", user="tina")
    camera.take("new-case-refused", "/cases/new", user="tina", clicks=("button[type=submit]",))
    camera.take("case", f"{page}?image={images[4].pk}")
    camera.take("case-read", f"{page}?image={images[3].pk}")
    camera.take("case-overrule", f"{page}?image={images[6].pk}", keys=("o",))
    camera.take("case-processed", f"{page}?image={images[6].pk}", keys=("p",))
    more = "details.more summary >> nth=0"
    camera.take("case-indeterminate", f"{page}?image={images[5].pk}", clicks=(more,))
    camera.take("case-blurred", f"{page}?image={images[last - 2].pk}")
    camera.take("case-drawn", f"{page}?image={images[last - 1].pk}")
    camera.take("case-failed", f"{page}?image={images[last].pk}")
    camera.take("case-technician", f"{page}?image={images[4].pk}", user="tina")
    adding = "[aria-controls=add-images]"
    camera.take("case-adding", f"{page}?image={images[4].pk}", user="tina", clicks=(adding,))
    camera.take("case-keys", f"{page}?image={images[4].pk}", keys=("?",))
    camera.take("case-empty", f"/cases/{empty.pk}", user="tina")
    camera.take("case-waiting", f"/cases/{Case.objects.get(accession_number='26-11899').pk}")
    camera.take("case-no-script", f"{page}?image={images[4].pk}", javascript=False)
    camera.take("new-case-no-script", "/cases/new", javascript=False, user="tina")
    take_cells(camera, cells_at_work(cast, model, main_case, Path(data) if data else None), main_case)
    camera.take("history", "/history")
    camera.take("history-narrowed", "/history?q=26-11873&outcome=suspected")
    camera.take("history-nothing", "/history?q=nobody")
    take_models(camera, cast, bundles)
    camera.take("password", "/accounts/password")
    camera.take("admin", "/admin/", user="ada")
    camera.take("refused-404", "/cases/99999")
    camera.take("refused-403", "/models", user="tina")
    next(bundles.glob("*/model.onnx")).write_bytes(b"changed")
    camera.take("broken-worklist", "/", user="ada")
    camera.take("broken-models", "/models", user="ada", whole=True)
    camera.take("broken-case", f"/cases/{Case.objects.get(accession_number='26-11899').pk}", user="ada")


def take_cells(camera: Camera, cases: dict[str, Case], main_case: Case) -> None:
    """The gallery of cells: full, by class, with a cell open, and where there is little or nothing to show."""
    page = f"/cases/{main_case.pk}/cells"
    first, fourth = ".tile >> nth=0", ".tile >> nth=3"
    camera.take("cells", page)
    camera.take("cells-one", page, clicks=(first,), keys=("h",))
    camera.take("cells-by-class", f"{page}?order=class", clicks=(fourth,), keys=("Shift+ArrowRight",) * 3)
    camera.take("cells-read", f"{page}?read=1", clicks=(first,))
    camera.take("cells-nothing", f"{page}?label=plasma_cell")
    camera.take("cells-keys", page, keys=("?",))
    camera.take("cells-technician", page, user="tina")
    camera.take("cells-no-script", page, javascript=False)
    for name, case in cases.items():
        camera.take(f"cells-{name}", f"/cases/{case.pk}/cells")
    camera.take("case-cells", f"/cases/{main_case.pk}", keys=("c",))
    camera.take("case-cells-none", f"/cases/{cases['none'].pk}")


def take_models(camera: Camera, cast: dict[str, User], bundles: Path) -> None:
    """The pages about models in every state."""
    from diagnosis.models import Laboratory
    from tests.browser.scenes import models_at_work
    from tests.diagnosis import told

    camera.take("models-one", "/models", whole=True)
    camera.take("sites-empty", "/models/sites", user="ada")
    found = models_at_work(cast, bundles)
    laboratory = cast["ada"].laboratory
    site = f"/models/sites/{found.validated.pk}"
    camera.take("site-no-limits", site)
    Laboratory.objects.filter(pk=laboratory.pk).update(accepted_sensitivity=0.95, accepted_specificity=0.9)
    camera.take("sites", "/models/sites", user="ada")
    camera.take("site-met", site, whole=True)
    camera.take("site-not-met", f"/models/sites/{found.failing.pk}", whole=True)
    camera.take("site-not-validated", f"/models/sites/{found.unknown.pk}", user="ada")
    for name, version in (("passed", found.better), ("refused", found.worse), ("running", found.waiting)):
        camera.take(f"promote-{name}", f"/models/versions/{version.pk}/promote", user="ada", whole=True)
    camera.take("promote-new", f"/models/versions/{found.shadow.pk}/promote", user="ada")
    force = "summary.btn"
    camera.take(
        "promote-force", f"/models/versions/{found.worse.pk}/promote", user="ada", clicks=(force,), whole=True
    )
    more = {"laboratory": laboratory, "started_by": cast["ada"]}
    training = told.training("field-6", progress=told.searching(), **more)
    ended = [
        told.training("field-2", state="done", ago=3000, result=found.better, progress=told.refitting(15), **more),
        told.training("field-2b", state="stopped", ago=2500, progress=told.refitting(4), **more),
        told.training(
            "field-2c", state="failed", ago=2000, **more,
            failure="No room is left for the checkpoint: free 1.2 GB, then go on with --resume.",
        ),
    ]  # fmt: skip
    camera.take("models-searching", "/models", user="ada", whole=True)
    camera.take("models-rolling-back", "/models", user="ada", clicks=(".actions summary",))
    camera.take("models-shadow", f"/models?open={found.shadow.pk}", user="ada", whole=True)
    camera.take("models", "/models", whole=True)
    camera.take("training-searching", f"/models/trainings/{training.pk}", user="ada", whole=True)
    for one in ended:
        camera.take(f"training-{one.state}", f"/models/trainings/{one.pk}", user="ada", whole=True)
    training.progress = told.refitting()
    training.save()
    camera.take("models-refitting", "/models", user="ada")
    training.beat_at -= timedelta(minutes=5)
    training.save()
    camera.take("models-silent", "/models", user="ada")
    camera.take("laboratory", "/laboratory", user="ada", whole=True)
    camera.take("account", "/account", user="ada", whole=True)


if __name__ == "__main__":
    main()
