"""The brush on a cut-out: what it changes, how it is undone, what is saved."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Page, expect

from tests.app.web.easel import Easel, matte, strength, to_the_path, until
from tests.app.web.page_driver import choose, downloaded, expect_condition, file, photo, pick
from tests.app.web.stub_service import PORTRAIT, StandIn
from tests.support.images import png, portrait

PHOTO = portrait(480, 640)
# Across the right edge of the stand-in's ellipse: from what is kept to what is removed.
FROM, TO = (400.0, 200.0), (600.0, 260.0)


@pytest.fixture
def easel(page: Page) -> Easel:
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    return Easel.opened(page)


@pytest.mark.parametrize(("brush", "value"), [("Restore", 255), ("Erase", 0)])
def test_stroke_changes_exactly_what_is_under_the_brush_and_softly_at_its_edge(
    page: Page, easel: Easel, brush: str, value: int
) -> None:
    before = matte(page).astype(float)
    easel.take(brush)
    easel.stroke(FROM, TO)
    after = matte(page).astype(float)
    away = to_the_path(before.shape, FROM, TO)
    radius = easel.radius
    assert (after == before)[away > radius].all()
    assert (after == value)[away < radius * 0.45].all()
    expected = before + (value - before) * strength(away, radius)
    assert abs(after - expected).max() <= 3  # Pointers come in whole pixels of the screen.
    assert len(np.unique(after[(away > radius * 0.55) & (away < radius * 0.95)])) > 20


def test_restored_pixels_have_the_photos_colours(page: Page, easel: Easel) -> None:
    easel.stroke(FROM, TO)
    picture = np.array(PIL.Image.open(io.BytesIO(downloaded(page, "Download")[1])))
    core = to_the_path(PHOTO.shape[:2], FROM, TO) < easel.radius * 0.45
    assert core.sum() > 2000
    assert (picture[core] == np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])[core]).all()


def test_slow_stroke_is_no_stronger_than_a_quick_one(page: Page, easel: Easel) -> None:
    easel.take("Erase")
    easel.stroke((200, 240), (420, 240), points=2)
    quick = matte(page)
    page.keyboard.press("Control+z")
    easel.stroke((200, 240), (420, 240), points=60)
    assert abs(matte(page).astype(int) - quick).max() <= 3


def test_undo_and_redo_bring_back_every_byte(page: Page, easel: Easel) -> None:
    _, untouched = downloaded(page, "Download")
    states = [matte(page)]
    for number, brush in enumerate(["Erase", "Restore", "Erase"]):
        easel.take(brush)
        easel.stroke((300 + 20 * number, 180), (560, 200 + 30 * number))
        states.append(matte(page))
    for expected in states[-2::-1]:
        page.keyboard.press("Control+z")
        assert (matte(page) == expected).all()
    pick(page, "Download as", "PNG")
    assert downloaded(page, "Download")[1] == untouched
    for expected in states[1:]:
        page.get_by_role("button", name="Redo").click()
        assert (matte(page) == expected).all()
    expect(page.get_by_role("button", name="Redo")).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Start over").click()
    assert (matte(page) == states[0]).all()
    page.get_by_role("button", name="Undo").click()
    assert (matte(page) == states[-1]).all()


def test_new_stroke_after_undo_leaves_nothing_to_redo(page: Page, easel: Easel) -> None:
    easel.stroke(FROM, TO)
    page.keyboard.press("Control+z")
    easel.stroke((320, 40), (330, 60))
    expected = matte(page)
    easel.surface.focus()
    page.keyboard.press("Control+Shift+z")
    expect(page.get_by_text("Nothing to do again.")).to_be_visible()
    assert (matte(page) == expected).all()


@pytest.mark.parametrize("format", ["PNG", "WebP"])
def test_downloads_hold_the_edited_alpha(page: Page, easel: Easel, format: str) -> None:
    easel.take("Erase")
    easel.stroke(FROM, TO)
    expected = matte(page)
    pick(page, "Download as", format)
    name, data = downloaded(page, "Download")
    picture = PIL.Image.open(io.BytesIO(data))
    assert (name, picture.format) == (f"anna-cutout.{format.lower()}", format.upper())
    assert (np.array(picture.getchannel("A")) == expected).all()


def test_edited_cutout_is_laid_on_the_background(page: Page, easel: Easel) -> None:
    easel.take("Erase")
    easel.stroke((300, 240), (340, 240))
    pick(page, "Background", "Colour")
    page.get_by_title("Navy blue").click()
    picture = PIL.Image.open(io.BytesIO(downloaded(page, "Download")[1])).convert("RGB")
    assert picture.getpixel((320, 240)) == (0x1E, 0x3A, 0x5F)


def test_clipboard_gets_the_edited_cutout(page: Page, easel: Easel) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    easel.take("Erase")
    easel.stroke((300, 240), (340, 240))
    page.get_by_role("button", name="Copy picture").click()
    expect(page.get_by_text("The picture is on the clipboard.")).to_be_visible()
    read = """async () => {
      const [item] = await navigator.clipboard.read();
      const bitmap = await createImageBitmap(await item.getType('image/png'));
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
      context.drawImage(bitmap, 0, 0);
      return [320, 200].map((x) => context.getImageData(x, x === 320 ? 240 : 100, 1, 1).data[3]);
    }"""
    erased, kept = page.evaluate(read)
    assert erased == 0
    assert kept > 0


def test_matte_alone_is_one_grey_channel_as_the_service_makes_it(page: Page) -> None:
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    pick(page, "Download as", "PNG")
    cutout = PIL.Image.open(io.BytesIO(downloaded(page, "Download")[1]))
    pick(page, "Download as", "Matte")
    expect(page.locator("#curl")).to_contain_text("/v1/matte -o matte.png")
    name, data = downloaded(page, "Download")
    picture = PIL.Image.open(io.BytesIO(data))
    assert (name, picture.format, picture.mode) == ("anna-matte.png", "PNG", "L")
    assert (np.array(picture) == np.array(cutout.getchannel("A"))).all()


def test_edits_survive_switching_photos_and_can_be_undone_afterwards(page: Page, easel: Easel) -> None:
    untouched = matte(page)
    easel.stroke(FROM, TO)
    first = matte(page)
    choose(page, file("bert.png", png(PHOTO[::-1].copy())))
    expect_condition(page, "bert.png", "done")
    photo(page, "bert.png").check(force=True)
    expect(page.get_by_role("heading", name="bert.png")).to_be_visible()
    easel.wait()
    assert (matte(page) == untouched).all()
    easel.take("Erase")
    easel.stroke((200, 300), (400, 300))
    second = matte(page)
    photo(page, "anna.png").check(force=True)
    easel.wait()
    assert (matte(page) == first).all()
    name, data = downloaded(page, "Download all")
    assert name == "mattes.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        mattes = [np.array(PIL.Image.open(io.BytesIO(archive.read(each)))) for each in archive.namelist()]
    assert (mattes[0] == first).all()
    assert (mattes[1] == second).all()
    page.get_by_role("button", name="Undo").click()
    assert (matte(page) == untouched).all()


def test_comparison_and_thumbnail_show_the_edited_cutout(page: Page, easel: Easel) -> None:
    thumbnail = "document.querySelector('.photo canvas').getContext('2d').getImageData(76, 76, 1, 1).data[3]"
    until(page, f"{thumbnail} > 250")
    easel.take("Erase")
    page.get_by_role("slider", name="Size").fill("200")
    easel.stroke((300, 240), (340, 240))
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("img", name="The cut-out")).to_be_visible()
    until(page, "after.getContext('2d').getImageData(320, 240, 1, 1).data[3] === 0")
    until(page, f"{thumbnail} === 0")
    expect_condition(page, "anna.png", "done, edited")


def test_cutting_out_anew_asks_before_it_discards_strokes(page: Page, service: StandIn) -> None:
    service.models = [PORTRAIT, {"name": "people", "version": "1", "role": "kept"}]
    page.reload()
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    easel = Easel.opened(page)
    easel.stroke(FROM, TO)
    edited = matte(page)
    models = page.get_by_role("combobox", name="Model", exact=True)
    page.once("dialog", lambda dialog: dialog.dismiss())
    models.select_option("people@1")
    expect(models).to_have_value("")
    assert (matte(page) == edited).all()
    page.once("dialog", lambda dialog: dialog.accept())
    models.select_option("people@1")
    expect_condition(page, "anna.png", "done")
    easel.wait()
    assert matte(page)[200, 500] == 0
    assert len(service.asked) == 2


def test_leaving_asks_while_strokes_are_in_no_file(page: Page, easel: Easel) -> None:
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    easel.stroke(FROM, TO)
    easel.settle()
    page.close(run_before_unload=True)
    expect(page.get_by_role("heading", name="anna.png")).to_be_visible()
    downloaded(page, "Download")
    easel.settle()
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert asked == ["beforeunload"]


def test_person_that_was_painted_where_nobody_was_found_counts(page: Page) -> None:
    choose(page, file("nobody.png", png(PHOTO)))
    expect_condition(page, "nobody.png", "done, nobody found")
    easel = Easel.opened(page)
    easel.stroke(FROM, TO)
    expect_condition(page, "nobody.png", "done, edited")
    expect(page.get_by_text("Nobody was found")).to_be_hidden()
    assert matte(page).max() == 255


@pytest.mark.parametrize("answers", [True, False], ids=["the service reads it", "nobody reads it"])
def test_photo_that_the_browser_cannot_read_is_restored_from_the_services_reading(
    page: Page, service: StandIn, answers: bool
) -> None:
    """As a HEIC photo in most browsers: the file is refused, the cut-out is a PNG."""
    page.add_init_script(
        "const real = globalThis.createImageBitmap;"
        "globalThis.createImageBitmap = (given, ...rest) => given instanceof File"
        " ? Promise.reject(new DOMException('unread', 'InvalidStateError')) : real(given, ...rest);"
    )
    page.reload()
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    if not answers:
        page.route("**/v1/cutout", lambda route: route.abort())
    easel = Easel.opened(page)
    if answers:
        easel.stroke(FROM, TO)
        picture = np.array(PIL.Image.open(io.BytesIO(downloaded(page, "Download")[1])))
        assert (picture[230, 500, :3] == PHOTO[230, 500]).all()
        assert picture[230, 500, 3] == 255
    else:
        expect(page.get_by_role("radio", name="Restore")).to_be_disabled()
        expect(page.get_by_role("radio", name="Erase")).to_be_checked()
        easel.surface.press("r")
        easel.stroke(FROM, TO)
        assert matte(page)[200, 400] == 0


def test_strokes_are_not_lost_where_only_the_service_could_write_the_file(
    page: Page, service: StandIn
) -> None:
    page.add_init_script(
        "const real = HTMLCanvasElement.prototype.toBlob;"
        "HTMLCanvasElement.prototype.toBlob = function (done) { real.call(this, done, 'image/png'); };"
    )
    page.reload()
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    Easel.opened(page).stroke(FROM, TO)
    pick(page, "Download as", "WebP")
    page.get_by_role("button", name="Download", exact=True).click()
    expect(page.get_by_text("This browser cannot make that file.")).to_be_visible()
    assert len(service.asked) == 1


def test_cutout_that_this_browser_cannot_read_is_not_edited_and_its_matte_comes_from_the_service(
    page: Page,
) -> None:
    page.add_init_script(
        "globalThis.createImageBitmap = () => Promise.reject(new DOMException('unread', 'InvalidStateError'));"
    )
    page.reload()
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    page.get_by_role("button", name="Edit the cut-out").click()
    expect(page.get_by_text("This cut-out cannot be edited here.")).to_be_visible()
    expect(page.locator("#editor")).to_be_hidden()
    assert matte(page).min() == 255  # The stand-in's own, whose cut-outs are ellipses.


def test_removed_photo_leaves_the_easel_to_the_next_and_the_last_one_ends_the_editing(
    page: Page, easel: Easel
) -> None:
    easel.stroke(FROM, TO)
    choose(page, file("bert.png", png(PHOTO)))
    expect_condition(page, "bert.png", "done")
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.get_by_role("heading", name="bert.png")).to_be_visible()
    easel.wait()
    expect(page.get_by_role("button", name="Undo")).to_have_attribute("aria-disabled", "true")
    easel.stroke(FROM, TO)
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.get_by_role("heading", name="Remove the background of a portrait")).to_be_visible()
    choose(page, file("carl.png", png(PHOTO)))
    expect_condition(page, "carl.png", "done")
    expect(page.locator("#editor")).to_be_hidden()
    expect(page.get_by_role("img", name="The cut-out")).to_be_visible()
