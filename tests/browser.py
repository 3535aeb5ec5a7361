"""Debian's chromium, headless (`apt-get install chromium`), and what it does with a page besides showing it."""

import os
import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright


class Seen:
    """What a browser has done with a page besides showing it."""

    def __init__(self, page):
        self.console, self.requests, self.refused, self.dialogs = [], [], {}, []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.refused.update({request.url: request.failure}))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@contextmanager
def chromium():
    """Start the browser for a while."""
    program = shutil.which("chromium")
    assert program, "These tests look at the page in Debian's browser: apt-get install chromium"
    # Chromium refuses its sandbox to root, which is who runs in a container.
    unconfined = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=unconfined)
        yield browser
        browser.close()
