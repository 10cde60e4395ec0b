"""The editor by mouse, wheel, fingers and keyboard, and what a screen reader hears of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.app.web.easel import Easel, Point, matte
from tests.app.web.page_driver import choose, expect_condition, file, focused
from tests.app.web.test_controls import PHONE, is_focusable
from tests.support.images import png, portrait

PHOTO = portrait(480, 640)


@pytest.fixture
def easel(page: Page) -> Easel:
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    return Easel.opened(page)


def wheel(easel: Easel, at: Point, turned: float, *, control: bool = False) -> None:
    easel.page.mouse.move(*at)
    if control:
        easel.page.keyboard.down("Control")
    easel.page.mouse.wheel(0, turned)
    if control:
        easel.page.keyboard.up("Control")
    easel.settle()


def under(easel: Easel, at: Point) -> Point:
    """Which pixel of the picture is at a point of the screen."""
    left, top, scale = easel.frame()
    return (at[0] - left) / scale, (at[1] - top) / scale


@pytest.mark.parametrize("spot", [(320, 240), (40, 30), (600, 470), (500, 20)])
def test_zoom_by_wheel_keeps_the_point_under_the_cursor(easel: Easel, spot: Point) -> None:
    x, y = easel.on_screen(spot)
    at = (round(x), round(y))  # Browsers tell where a wheel turns in whole pixels.
    spot = under(easel, at)
    smallest = easel.frame()[2]
    for _ in range(4):
        wheel(easel, at, -100, control=True)
        assert under(easel, at) == pytest.approx(spot, abs=0.01)
    assert easel.frame()[2] > 2 * smallest
    for _ in range(8):
        wheel(easel, at, 100, control=True)
    assert easel.frame()[2] == pytest.approx(smallest)


def test_stroke_on_a_zoomed_picture_lands_under_the_cursor(page: Page, easel: Easel) -> None:
    wheel(easel, easel.on_screen((500, 100)), -400, control=True)
    before = matte(page)
    easel.stroke((490, 100), (505, 105))
    changed = np.argwhere(matte(page) != before)
    middle = (changed.min(axis=0) + changed.max(axis=0)) / 2
    assert middle == pytest.approx((102.5, 497.5), abs=3)
    assert len(changed) < np.pi * (easel.radius + 2) ** 2 + 18 * 2 * (easel.radius + 2)


def test_wheel_and_brackets_change_the_brushs_size(page: Page, easel: Easel) -> None:
    size = page.get_by_role("slider", name="Size")
    wheel(easel, easel.on_screen((320, 240)), -100)
    expect(size).to_have_value("46")
    expect(page.locator("#edit-news")).to_have_text("Brush 46 wide.")
    wheel(easel, easel.on_screen((320, 240)), 100)
    wheel(easel, easel.on_screen((320, 240)), 100)
    expect(size).to_have_value("34")
    easel.surface.press("]")
    easel.surface.press("]")
    expect(size).to_have_value("46")
    easel.surface.press("[")
    expect(size).to_have_value("40")
    for _ in range(40):
        easel.surface.press("[")
    expect(size).to_have_value("4")
    assert easel.radius == pytest.approx(2 / easel.frame()[2])


@pytest.mark.parametrize("how", ["space", "middle button"])
def test_picture_is_dragged_without_painting(page: Page, easel: Easel, how: str) -> None:
    wheel(easel, easel.on_screen((320, 240)), -400, control=True)
    before = matte(page)
    easel.surface.focus()
    start = easel.on_screen((320, 240))
    left, top, _ = easel.frame()
    page.mouse.move(*start)
    if how == "space":
        page.keyboard.down("Space")
    page.mouse.down(button="left" if how == "space" else "middle")
    page.mouse.move(start[0] + 50, start[1] - 30, steps=5)
    page.mouse.up(button="left" if how == "space" else "middle")
    page.keyboard.up("Space")
    assert easel.frame()[:2] == pytest.approx((left + 50, top - 30), abs=0.5)
    assert (matte(page) == before).all()


class Fingers:
    """On a touch screen: where each of them is, from the first touch to the last."""

    def __init__(self, page: Page) -> None:
        self.session = page.context.new_cdp_session(page)

    def __call__(self, kind: str, *points: Point) -> None:
        fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def test_one_finger_paints(page: Page, easel: Easel) -> None:
    before = matte(page)
    easel.take("Erase")
    easel.wait()
    scrolled = page.evaluate("scrollY")
    touch = Fingers(page)
    touch("touchStart", easel.on_screen((250, 240)))
    for y in range(240, 300, 20):
        touch("touchMove", easel.on_screen((y + 10, y)))
    touch("touchEnd")
    after = matte(page)
    assert [after[y, y + 10] for y in range(240, 280)] == [0] * 40
    assert (after[:200] == before[:200]).all()
    assert page.evaluate("scrollY") == scrolled


def test_two_fingers_zoom_and_move_and_paint_nothing(page: Page, easel: Easel) -> None:
    before = matte(page)
    touch = Fingers(page)
    spots = [(300.0, 240.0), (340.0, 240.0)]
    one, other = (easel.on_screen(spot) for spot in spots)
    scale = easel.frame()[2]
    touch("touchStart", one)
    touch("touchStart", one, other)
    for step in range(1, 11):
        wider = [(one[0] - 6 * step, one[1] + 2 * step), (other[0] + 6 * step, other[1] + 2 * step)]
        touch("touchMove", *wider)
    touch("touchEnd")
    apart = (other[0] - one[0] + 120) / (other[0] - one[0])
    assert easel.frame()[2] / scale == pytest.approx(apart, rel=0.02)
    assert under(easel, (one[0] - 60, one[1] + 20)) == pytest.approx(spots[0], abs=1.5)
    assert (matte(page) == before).all()
    expect(page.get_by_role("button", name="Undo")).to_have_attribute("aria-disabled", "true")


def test_keyboard_alone_edits(page: Page) -> None:
    choose(page, file("anna.png", png(PHOTO)))
    expect_condition(page, "anna.png", "done")
    before = matte(page)
    page.get_by_role("radio", name="anna.png, done").focus()
    while focused(page) != "edit":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert focused(page) == "surface"
    Easel(page).wait()
    news = page.locator("#edit-news")
    step = Easel(page).radius / 2
    down = round((240 - step) / 4.8)
    for key, said in [
        ("e", "Erase."),
        ("ArrowUp", f"50 % across, {down} % down: kept."),
        ("Enter", "Brush down, erasing."),
        ("ArrowRight", f"{round((320 + step) / 6.4)} % across, {down} % down: removed."),
        ("ArrowRight", f"{round((320 + 2 * step) / 6.4)} % across, {down} % down: removed."),
        ("Enter", "Brush lifted."),
    ]:
        page.keyboard.press(key)
        expect(news).to_have_text(said)
    erased = matte(page)
    assert erased[int(240 - step), int(320 + step)] == 0
    for key, said, expected in [
        ("Control+z", "Undone: erasing.", before),
        ("Control+Shift+z", "Done again: erasing.", erased),
        ("Control+z", "Undone: erasing.", before),
        ("Control+y", "Done again: erasing.", erased),
    ]:
        page.keyboard.press(key)
        expect(news).to_have_text(said)
        assert (matte(page) == expected).all()
    page.locator("#surface").focus()
    scale = Easel(page).frame()[2]
    for key, factor in [("+", 1.3), ("=", 1.69), ("-", 1.3), ("0", 1)]:
        page.keyboard.press(key)
        assert Easel(page).frame()[2] == pytest.approx(scale * factor, rel=0.01)
        expect(news).to_have_text(f"Zoom {round(scale * factor * 100)} %.")
    page.keyboard.press("Escape")
    expect(page.locator("#editor")).to_be_hidden()
    assert focused(page) == "edit"
    assert (matte(page) == erased).all()


def test_brush_of_the_keyboard_takes_the_zoomed_picture_along(page: Page, easel: Easel) -> None:
    page.get_by_role("slider", name="Size").fill("200")
    for _ in range(6):
        easel.surface.press("+")
    left, top, _ = easel.frame()
    easel.surface.press("Shift+ArrowRight")
    assert easel.frame()[:2] == pytest.approx((left - 60, top))
    for _ in range(60):
        easel.surface.press("ArrowDown")
    expect(page.locator("#edit-news")).to_contain_text("100 % down")
    x, y = easel.on_screen((320, 480))
    box = easel.surface.bounding_box()
    assert box is not None
    assert box["y"] < y < box["y"] + box["height"]
    assert x > 0


def test_escape_gives_a_stroke_up(page: Page, easel: Easel) -> None:
    before = matte(page)
    easel.surface.focus()
    for key in ("e", "Enter", "ArrowLeft", "ArrowLeft", "Escape"):
        page.keyboard.press(key)
    expect(page.locator("#editor")).to_be_visible()
    assert (matte(page) == before).all()


def test_lost_focus_ends_the_keyboards_stroke(page: Page, easel: Easel) -> None:
    easel.surface.focus()
    for key in ("e", "Enter", "ArrowLeft", "Tab", "Shift+Tab", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator("#edit-news")).to_contain_text("across")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(page.get_by_text("Nothing to undo.")).to_be_visible()


def test_tab_walks_through_the_tools_and_leaves_the_picture(page: Page, easel: Easel) -> None:
    page.locator("#edit").focus()
    order = []
    while not order or order[-1] != "photo":
        page.keyboard.press("Tab")
        order.append(focused(page))
        assert len(order) < 20, order
    assert order == [
        "remove", "restore", "brush-size", "undo", "redo", "zoom-out", "zoom-in", "fit", "see-original",
        "start-over", "surface", "SUMMARY", "photo",
    ]  # fmt: skip


def test_everything_in_the_editor_has_a_name_and_the_picture_tells_its_keys(page: Page, easel: Easel) -> None:
    nodes: list[dict[str, Any]] = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")[
        "nodes"
    ]
    takers = [node for node in nodes if is_focusable(node)]
    assert len(takers) > 30
    assert [node for node in takers if not node["name"]["value"].strip()] == []
    expect(page.get_by_role("application", name="Picture to paint on")).to_be_visible()
    described = "document.getElementById(surface.getAttribute('aria-describedby')).textContent"
    assert "Enter puts it down" in page.evaluate(described)
    assert page.locator("#edit-news").get_attribute("role") == "status"


@pytest.mark.parametrize("width", [320, PHONE["width"], 1280])
def test_editor_is_no_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    choose(page, file(f"{'a-very-long-name' * 8}.png", png(PHOTO)))
    expect(page.locator("#news")).to_contain_text("done")
    Easel.opened(page)
    page.get_by_text("Mouse, touch and keys").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    small = """[...document.querySelectorAll('#editor button, #editor .tiles label')]
      .filter((each) => each.getBoundingClientRect().height < 42).map((each) => each.id)"""
    assert page.evaluate(small) == []


def test_original_shines_through_around_the_brush_or_in_all_places(page: Page, easel: Easel) -> None:
    """Where the cut-out has nothing: at its corner, and where the brush is."""
    shown = """([x, y]) => {
      const box = surface.getBoundingClientRect();
      const dense = surface.width / box.width;
      const at = [(x - box.left) * dense, (y - box.top) * dense];
      return surface.getContext('2d').getImageData(...at, 1, 1).data[3];
    }"""
    corner, brush = easel.on_screen((10, 10)), easel.on_screen((600, 440))
    page.mouse.move(*brush)
    easel.settle()
    inside = (brush[0] + 8, brush[1])
    assert page.evaluate(shown, corner) == 0
    assert 90 < page.evaluate(shown, inside) < 140
    page.get_by_label("Show the original").check()
    easel.settle()
    assert 90 < page.evaluate(shown, corner) < 140
