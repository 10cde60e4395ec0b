"""The page in Firefox: a photo in, a stroke, undo and redo, and what is saved. All else is tested in Chromium."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from tests.app.web.easel import strength, to_the_path
from tests.app.web.firefox import FIREFOX, Firefox, firefox
from tests.app.web.stub_service import StandIn
from tests.support.images import png, portrait

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FIREFOX is None, reason="neither firefox-esr nor firefox is installed"),
]

PHOTO = portrait(480, 640)
CONTROL, SHIFT, ENTER, RIGHT, ESCAPE = "\ue009", "\ue008", "\ue007", "\ue014", "\ue00c"

UNTIL = """
  const until = async (met) => {
    while (!met()) await new Promise((next) => requestAnimationFrame(next));
    return met();
  };
"""
CHOOSE = f"""{UNTIL}
  const [name, bytes] = given;
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0))], name, {{type: 'image/png'}}));
  const input = document.getElementById(photos.children.length ? 'more' : 'choose');
  input.files = data.files;
  input.dispatchEvent(new Event('change', {{bubbles: true}}));
  await until(() => news.textContent.includes(`${{name}}: done`));
"""
OPEN = f"""{UNTIL}
  edit.click();
  await until(() => editor.ariaBusy === 'false');
  surface.scrollIntoView({{block: 'center'}});
  await until(() => sheet.style.width);
  const box = surface.getBoundingClientRect();
  const side = (name) => parseFloat(sheet.style[name]);
  return [box.left + side('left'), box.top + side('top'), side('width') / 640];
"""
SAVE = """
  document.querySelector(`[name=format][value=${given[0]}]`).click();
  const real = URL.createObjectURL;
  const blob = await new Promise((taken) => {
    URL.createObjectURL = (made) => { taken(made); return real.call(URL, made); };
    save.click();
  });
  URL.createObjectURL = real;
  return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser: Firefox, service: StandIn) -> Firefox:
    """With a photo that is cut out."""
    service.reset()
    browser.open(service.address)
    browser.run(CHOOSE, "anna.png", base64.b64encode(png(PHOTO)).decode())
    return browser


def saved(page: Firefox, format: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(page.run(SAVE, format))))


def matte(page: Firefox) -> NDArray[np.uint8]:
    return np.array(saved(page, "matte"))


def test_stroke_is_soft_undone_and_redone_to_the_byte_and_saved(page: Firefox) -> None:
    before = matte(page)
    left, top, scale = page.run(OPEN)
    # From whole pixels of the screen, since a mouse knows no others.
    ends = [(round(left + x * scale), round(top + y * scale)) for x, y in ((400, 200), (600, 260))]
    middle = tuple(round(sum(each) / 2) for each in zip(*ends, strict=True))
    page.drag(ends[0], (middle[0], middle[1]), ends[1])
    after = matte(page)
    start, end = (((x - left) / scale, (y - top) / scale) for x, y in ends)
    away = to_the_path(before.shape, start, end)
    radius = 20 / scale
    assert (after == before)[away > radius + 1].all()
    assert (after == 255)[away < radius * 0.45].all()
    assert abs(after - (before + (255.0 - before) * strength(away, radius))).max() <= 8
    picture = np.array(saved(page, "png"))
    assert (picture[..., 3] == after).all()
    core = away < radius * 0.45
    assert (picture[core][:, :3] == PHOTO[core]).all()
    assert (np.array(saved(page, "webp").getchannel("A")) == after).all()
    page.press(f"{CONTROL}+z")
    assert (matte(page) == before).all()
    page.press(f"{CONTROL}+{SHIFT}+z")
    assert (matte(page) == after).all()


def test_keyboard_alone_edits(page: Firefox) -> None:
    before = matte(page)
    page.run(OPEN)
    page.run("surface.focus()")
    page.press("e", ENTER, RIGHT, RIGHT, ENTER)
    after = matte(page)
    assert after[240, 325] == 0
    assert (after != before).any()
    page.run("surface.focus()")
    page.press(f"{CONTROL}+z")
    assert page.run("return document.getElementById('edit-news').textContent") == "Undone: erasing."
    assert (matte(page) == before).all()
    page.run("surface.focus()")
    page.press(ESCAPE)
    page.run(f"{UNTIL} await until(() => editor.hidden && document.activeElement === edit);")
