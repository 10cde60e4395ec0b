"""What is laid under a cut-out."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
from playwright.sync_api import Page, expect

from app.imaging import render
from app.imaging import render as backdrop
from tests.app.web.page_driver import choose, expect_condition, file, pick, saved
from tests.support.images import png, portrait


def test_jpg_without_background_is_laid_on_white(page: Page) -> None:
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    pick(page, "Download as", "JPG")
    expect(page.get_by_text("laid on white")).to_be_visible()
    assert min(saved(page).getpixel((0, 0))) > 251


def test_webp_keeps_the_alpha(page: Page) -> None:
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    pick(page, "Download as", "WebP")
    picture = saved(page)
    assert (picture.format, picture.mode) == ("WEBP", "RGBA")
    assert picture.getpixel((0, 0))[3] == 0


def test_own_picture_lies_under_the_person(page: Page) -> None:
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    pick(page, "Background", "Picture")
    backdrop = io.BytesIO()
    PIL.Image.new("RGB", (50, 200), (10, 200, 30)).save(backdrop, "PNG")
    page.set_input_files("#backdrop", file("lawn.png", backdrop.getvalue()))
    expect(page.get_by_text("lawn.png")).to_be_visible()
    picture = saved(page)
    assert picture.getpixel((0, 0))[:3] == (10, 200, 30)
    assert picture.getchannel("A").getextrema() == (255, 255)


def test_file_that_is_no_picture_is_refused_as_background(page: Page) -> None:
    choose(page, file("anna.jpg"))
    pick(page, "Background", "Picture")
    page.set_input_files("#backdrop", file("notes.png", b"nothing of the kind"))
    expect(page.get_by_text("notes.png is no picture")).to_be_visible()


def test_blurred_background_has_no_halo_of_the_person(page: Page) -> None:
    """A red person on blue: right beside it, the blur must stay blue."""
    y, x = np.mgrid[-1:1:400j, -1:1:400j]
    photo = np.full((400, 400, 3), (20, 40, 220), np.uint8)
    photo[np.hypot(x, y) < 0.61] = (230, 20, 20)  # There the stand-in's alpha is all but 1; at 0.7 it ends.
    choose(page, file("red.png", png(photo)))
    expect_condition(page, "red.png", "done")
    pick(page, "Background", "Blur")
    page.get_by_role("slider", name="Strength").fill("100")
    picture = np.array(saved(page))
    assert (picture[..., 3] == 255).all()
    assert picture[200, :60, 0].max() < 25


def test_blur_is_as_strong_as_the_services(page: Page) -> None:
    """At an edge, black to white, above the person. A fifth more or less blur would differ by 12 levels."""
    photo = np.zeros((600, 800, 3), np.uint8)
    photo[:, 400:] = 255
    choose(page, file("edge.png", png(photo)))
    expect_condition(page, "edge.png", "done")
    alpha = np.array(saved(page))[..., 3]
    pick(page, "Background", "Blur")
    for strength in (20, 60, 100):
        page.get_by_role("slider", name="Strength").fill(str(strength))
        ours = np.array(saved(page))[10, :, 0].astype(int)
        theirs = backdrop.blurred(photo, alpha, strength)[10, :, 0].astype(int)
        assert abs(ours - theirs).max() < 12, strength


def test_shadow_is_as_strong_as_the_services(page: Page) -> None:
    choose(page, file("anna.png", png(portrait(600, 800))))
    expect_condition(page, "anna.png", "done")
    alpha = np.array(saved(page))[..., 3]
    pick(page, "Background", "Colour")
    page.get_by_role("slider", name="Shadow").fill("60")
    beside = alpha == 0
    beside[:60] = beside[-60:] = False  # There a canvas fades out and the service goes on.
    ours = 255 - np.array(saved(page))[..., 0].astype(int)[beside]
    theirs = render.cast_shadow(alpha, 60).astype(int)[beside]
    assert theirs.max() > 60
    assert abs(ours - theirs).max() < 8
