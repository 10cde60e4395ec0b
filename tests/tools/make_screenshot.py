"""Makes README's picture of the page: a real browser, the real service, the built-in model.

    .venv/bin/python -m tests.tools.make_screenshot

Needs Chromium (on Debian the package `chromium`). The photo is the one of make_pictures.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from playwright.sync_api import expect, sync_playwright

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "page.jpg"
VIEW = {"width": 1280, "height": 860}
PATIENCE_MS = 60_000
JPEG_QUALITY = 85


def main() -> None:
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        sys.exit("no chromium and no google-chrome is installed")
    photo = cv2.resize(skimage.data.astronaut(), (1536, 1536), interpolation=cv2.INTER_CUBIC)
    file = cv2.imencode(".jpg", np.asarray(photo)[:, :, ::-1])[1].tobytes()
    service = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert service.stdout is not None
        address = next(
            found[0] for line in service.stdout if (found := re.search(r"http://[\d.]+:\d+", line))
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport=VIEW)
            page.goto(address)
            page.set_input_files(
                "#choose", {"name": "portrait.jpg", "mimeType": "image/jpeg", "buffer": file}
            )
            download = page.get_by_role("button", name="Download", exact=True)
            expect(download).to_be_enabled(timeout=PATIENCE_MS)
            page.get_by_role("group", name="Background", exact=True).get_by_text("Blur", exact=True).click()
            page.wait_for_load_state("networkidle")
            shot = page.screenshot()
            browser.close()
    finally:
        service.terminate()
        service.wait()
    pixels = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(PICTURE), pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main()
