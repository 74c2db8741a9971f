"""A browser for the tests of the viewer; they are skipped only where there is none."""

import shutil

import pytest

from runtime.viewer import page_of
from tests.runtime.viewing import training_step

FLAGS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs a Chromium browser (Debian: chromium)")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def record():
    return training_step()


@pytest.fixture
def view(browser, tmp_path):
    """Opens records in a page; no page may write an error or ask for anything."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    troubles = []

    def opened(*records, link="", **options):
        if options:
            context.set_default_timeout(options["timeout"])
        path = tmp_path / "view.html"
        path.write_text(page_of(*records), encoding="utf-8")
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        asked = lambda request: request.url.startswith(("http:", "https:", "ws:"))
        page.on("request", lambda request: troubles.append(request.url) if asked(request) else None)
        page.goto(f"{path.as_uri()}{link}")
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    context.close()
    assert not troubles
