"""What comes out: shown, saved, copied."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import PIL.Image
import pytest
from playwright.sync_api import Page, expect

from tests.app.web.page_driver import PHOTO, choose, downloaded, expect_condition, file, pick, saved
from tests.app.web.stub_service import StandIn
from tests.support.images import jpeg, portrait


def test_uploaded_photo_is_shown_and_saved_with_its_alpha(page: Page) -> None:
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(page.get_by_role("heading", name="anna.jpg")).to_be_visible()
    expect(page.get_by_role("img", name="The cut-out")).to_be_visible()
    name, data = downloaded(page, "Download")
    picture = PIL.Image.open(io.BytesIO(data))
    assert name == "anna-cutout.png"
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (320, 240))
    assert picture.getchannel("A").getextrema() == (0, 255)


def test_preview_shows_the_background_beside_the_person(page: Page) -> None:
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    pick(page, "Background", "Colour")
    page.get_by_title("Navy blue").click()
    shown = """() => {
      const {width, height} = after;
      const at = (x, y) => [...after.getContext('2d').getImageData(x, y, 1, 1).data];
      return [width, height, at(0, 0), at(width / 2, height / 2)];
    }"""
    width, height, corner, middle = page.evaluate(shown)
    assert (width, height) == (320, 240)
    assert corner == [0x1E, 0x3A, 0x5F, 255]
    assert middle[:3] != corner[:3]


def test_photo_that_was_held_upright_is_shown_upright_beside_its_cutout(page: Page) -> None:
    choose(page, file("turned.jpg", jpeg(portrait(240, 320), orientation=6)))
    expect_condition(page, "turned.jpg", "done")
    assert saved(page).size == (240, 320)
    sizes = "[before, after].map(canvas => [canvas.width, canvas.height])"
    assert page.evaluate(sizes) == [[240, 320], [240, 320]]


def test_picture_is_saved_at_full_size_on_the_chosen_colour(page: Page) -> None:
    choose(page, file("large.jpg", jpeg(portrait(1500, 2400))))
    expect_condition(page, "large.jpg", "done")
    pick(page, "Background", "Colour")
    page.get_by_title("Black").click()
    pick(page, "Download as", "JPG")
    picture = saved(page)
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (2400, 1500))
    assert max(picture.getpixel((0, 0))) < 4  # JPEG's own loss.
    assert max(picture.getpixel((1200, 750))) > 100


def test_picture_is_copied_to_the_clipboard(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    page.get_by_role("button", name="Copy picture").click()
    expect(page.get_by_text("The picture is on the clipboard.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.read().then(([item]) => item.types)") == ["image/png"]


def test_what_the_browser_cannot_write_is_made_by_the_service(page: Page, service: StandIn) -> None:
    page.add_init_script(
        "const real = HTMLCanvasElement.prototype.toBlob;"
        "HTMLCanvasElement.prototype.toBlob = function (done) { real.call(this, done, 'image/png'); };"
    )
    page.reload()
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    pick(page, "Background", "Colour")
    page.get_by_title("Mint").click()
    page.get_by_role("slider", name="Shadow").fill("30")
    pick(page, "Download as", "WebP")
    assert saved(page).format == "WEBP"
    wanted = {
        "name": "anna.jpg",
        "format": "webp",
        "background": "bfe3d5",
        "shadow": "30",
        "quality": "standard",
    }
    assert service.asked[-1] == wanted


def test_all_are_saved_in_one_archive_under_names_of_their_own(page: Page) -> None:
    other = jpeg(portrait(100, 100))
    choose(
        page,
        file("anna.jpg"),
        file("anna.jpg", other),
        file("Zoë 漢.jpg"),
        file("nobody.jpg"),
        file("broken.jpg"),
    )
    expect(page.locator("#news")).to_have_text("4 of 5 done, 1 failed.")
    name, data = downloaded(page, "Download all")
    assert name == "cutouts.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["anna-cutout.png", "anna-cutout-2.png", "Zoë 漢-cutout.png"]
        second = PIL.Image.open(io.BytesIO(archive.read("anna-cutout-2.png")))
    assert (second.mode, second.size) == ("RGBA", (100, 100))
    expect(page.get_by_text("Left out, because nobody was found: 1.")).to_be_visible()


def test_photo_without_a_person_is_told(page: Page) -> None:
    choose(page, file("nobody.jpg"))
    expect_condition(page, "nobody.jpg", "done, nobody found")
    expect(page.get_by_text("Nobody was found in this photo.")).to_be_visible()


def test_doubtful_result_is_told_and_can_be_made_again_in_high_quality(page: Page, service: StandIn) -> None:
    choose(page, file("doubtful.jpg"))
    expect(page.get_by_text("Look closely at this one.")).to_be_visible()
    expect(page.get_by_text("0.87")).to_be_visible()
    page.get_by_role("button", name="Try high quality").click()
    expect(page.get_by_role("button", name="Try high quality")).to_be_hidden()
    expect(page.get_by_text("Look closely at this one.")).to_be_visible()
    assert [asked["quality"] for asked in service.asked] == ["standard", "high"]


def test_no_object_url_is_left(page: Page) -> None:
    page.clock.install()
    page.add_init_script(
        "globalThis.urls = new Set();"
        "for (const [name, note] of [['createObjectURL', 'add'], ['revokeObjectURL', 'delete']]) {"
        "  const real = URL[name];"
        "  URL[name] = (given) => { const made = real.call(URL, given); urls[note](made ?? given); return made; };"
        "}"
    )
    page.reload()
    choose(page, file("anna.jpg"), file("bert.jpg"))
    page.clock.run_for(1000)
    expect(page.locator("#news")).to_have_text("2 of 2 done.")
    saved(page)
    downloaded(page, "Download all")
    assert page.evaluate("urls.size") == 2
    page.clock.run_for(60_000)
    assert page.evaluate("urls.size") == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_shown_command_does_the_same(page: Page, service: StandIn, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    page.get_by_text("Do the same from a terminal").click()
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    pick(page, "Background", "Blur")
    page.get_by_role("slider", name="Strength").fill("25")
    pick(page, "Download as", "JPG")
    expect(page.locator("#curl")).to_contain_text("blur=25")
    command = shlex.split(page.locator("#curl").inner_text())
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    assert service.asked[-1] == {"name": "photo.jpg", "format": "jpg", "blur": "25"}
    assert (tmp_path / "cutout.jpg").read_bytes().startswith(b"\xff\xd8")
