"""Take the pictures of the app in docs/images: ``python sample_apps/browser/scripts/screenshot.py BUNDLE [FOLDER]``.

The app must have been built (``npm run build``); the bundle's model must classify English text.
"""

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgeexport.devices import _chromium

APP = Path(__file__).parent.parent
WIDTH, SCALE = 760, 1.25
SENTENCE = "A quietly moving film that earns every one of its tears."
_READY_S = 60


@contextlib.contextmanager
def served(bundle: Path) -> Iterator[str]:
    """The app with a bundle, on a free port; gives its address."""
    command = ["node", str(APP / "scripts" / "serve.mjs"), str(bundle), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip() if server.stdout else ""
            if not address:
                sys.exit("the app could not be served")
            yield address
        finally:
            server.terminate()


def wait(page: _chromium.Chromium, condition: str) -> None:
    """Until a JavaScript expression is true in the page."""
    deadline = time.monotonic() + _READY_S
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            sys.exit(f"the page never came to: {condition}")
        time.sleep(0.05)


def take(page: _chromium.Chromium, address: str, scheme: str) -> bytes:
    """A picture of the whole page, with an answer and a passed self-test, in a colour scheme."""
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=400, deviceScaleFactor=SCALE, mobile=False)
    page.ask("Page.navigate", url=address)
    wait(page, "document.body?.dataset.state === 'ready'")
    page.evaluate(f"document.getElementById('first').value = {json.dumps(SENTENCE)}")
    page.evaluate("document.getElementById('form').requestSubmit()")
    wait(page, "document.body.dataset.answered")
    page.evaluate("document.getElementById('run').click()")
    wait(page, "document.getElementById('verdict').dataset.verdict")
    height = page.evaluate("document.documentElement.getBoundingClientRect().height")
    page.ask(
        "Emulation.setDeviceMetricsOverride", width=WIDTH, height=int(height), deviceScaleFactor=SCALE, mobile=False
    )
    picture: str = page.ask("Page.captureScreenshot", format="png")["data"]
    return base64.b64decode(picture)


def main() -> None:
    """Take both."""
    bundle = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else APP.parent.parent / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with served(bundle) as address, _chromium.Chromium(_chromium.find()) as page:
        for scheme, name in (("light", "browser-app.png"), ("dark", "browser-app-dark.png")):
            (folder / name).write_bytes(take(page, address, scheme))


if __name__ == "__main__":
    main()
