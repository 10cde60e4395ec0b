"""How photos come in, and who can use the page: by keyboard, on a phone, by a screen reader."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.page_driver import PHOTO, choose, expect_condition, file, focused, pick
from tests.app.web.stub_service import StandIn

PHONE = {"width": 360, "height": 740}


def test_dropped_and_pasted_files_are_taken(page: Page) -> None:
    carried = """([kind, name, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/jpeg'}));
      const given = kind === 'paste' ? {clipboardData: data} : {dataTransfer: data};
      const Event = kind === 'paste' ? ClipboardEvent : DragEvent;
      document.body.dispatchEvent(new Event(kind, {bubbles: true, cancelable: true, ...given}));
    }"""
    page.evaluate(carried, ["dragenter", "dropped.jpg", list(PHOTO)])
    expect(page.get_by_text("Drop to remove the background")).to_be_visible()
    page.evaluate(carried, ["drop", "dropped.jpg", list(PHOTO)])
    expect(page.get_by_text("Drop to remove the background")).to_be_hidden()
    expect_condition(page, "dropped.jpg", "done")
    page.evaluate(carried, ["paste", "pasted.jpg", list(PHOTO)])
    expect_condition(page, "pasted.jpg", "done")


def test_camera_gives_a_still_picture_and_is_switched_off(page: Page) -> None:
    page.get_by_role("button", name="Take a photo").click()
    dialog = page.get_by_role("dialog", name="Take a photo")
    expect(dialog.get_by_role("button", name="Take picture")).to_be_enabled()
    expect(page.locator("#camera-view")).to_have_js_property("paused", False)
    stream = page.evaluate_handle("document.getElementById('camera-view').srcObject")
    page.locator("#camera-view").evaluate(
        "view => view.readyState >= 2 || new Promise(r => { view.onloadeddata = r; })"
    )
    dialog.get_by_role("button", name="Take picture").click()
    expect(page.get_by_role("radio", name=re.compile(r"camera-.*\.jpg, done"))).to_be_attached()
    assert stream.evaluate("stream => stream.getTracks().map(track => track.readyState)") == ["ended"]


def test_camera_is_not_offered_where_there_is_none(page: Page) -> None:
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'mediaDevices', {value: undefined});")
    page.reload()
    expect(page.get_by_text("up to 3 MB")).to_be_visible()
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(page.locator(".camera:visible")).to_have_count(0)


def test_everything_is_done_by_keyboard(page: Page) -> None:
    page.on("filechooser", lambda _: None)  # Else a chooser may open before Chromium is told to hand it over.
    for _ in range(3):  # Two links, then the first control.
        page.keyboard.press("Tab")
    assert focused(page) == "choose"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([file("anna.jpg"), file("bert.jpg")])
    expect(page.locator("#news")).to_have_text("2 of 2 done.")
    assert focused(page) == "photo"
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="bert.jpg")).to_be_visible()
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "split"
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("slider", name="Compare")).to_have_attribute(
        "aria-valuetext", "49 % original, 51 % cut-out"
    )
    expect(page.locator("#before")).to_have_css("clip-path", re.compile(r"inset\(0(px|%)? .*\)"))
    order = []
    while not order or order[-1] != "save":
        page.keyboard.press("Tab")
        order.append(focused(page))
        assert len(order) < 20, order
    assert order == ["photo", "more", "BUTTON", "clear", "background", "shadow", "format", "save"]
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert waiting.value.suggested_filename == "bert-cutout.png"


def test_delete_removes_a_photo_and_the_last_one_leads_back(page: Page) -> None:
    choose(page, file("anna.jpg"), file("bert.jpg"))
    expect(page.locator("#news")).to_have_text("2 of 2 done.")
    page.keyboard.press("Delete")
    expect(page.get_by_role("heading", name="bert.jpg")).to_be_visible()
    assert focused(page) == "photo"
    page.keyboard.press("Delete")
    expect(page.get_by_role("heading", name="Remove the background of a portrait")).to_be_visible()
    assert focused(page) == "choose"


@pytest.mark.parametrize("name", ["anna.jpg", "broken.jpg", f"doubtful-{'a-very-long-name' * 8}.jpg"])
def test_phone_has_no_horizontal_scroll(page: Page, name: str) -> None:
    page.set_viewport_size(PHONE)
    page.get_by_text("Do the same from a terminal").click()
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == PHONE["width"]
    choose(page, file(name), *(file(f"{number}.jpg") for number in range(6)))
    expect(page.locator("#news")).to_contain_text(re.compile("[67] of 7 done"))
    for background in ("Colour", "Picture", "Blur"):
        pick(page, "Background", background)
        assert page.evaluate(width) == PHONE["width"]


def test_everything_that_takes_focus_has_a_name(page: Page) -> None:
    choose(page, file("doubtful.jpg"), file("late.jpg"))
    expect(page.locator("#news")).to_have_text("1 of 2 done, 1 failed.")
    pick(page, "Background", "Colour")
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    takers = [node for node in nodes if is_focusable(node)]
    assert len(takers) > 20
    assert [node for node in takers if not node["name"]["value"].strip()] == []


def is_focusable(node: dict[str, Any]) -> bool:
    if node["ignored"] or node["role"]["value"] == "RootWebArea":
        return False
    return any(item["name"] == "focusable" and item["value"]["value"] for item in node["properties"])


@pytest.mark.parametrize(("motion", "animation"), [("no-preference", "turn"), ("reduce", "none")])
def test_nothing_turns_where_motion_is_not_wanted(
    page: Page, service: StandIn, motion: Any, animation: str
) -> None:
    page.emulate_media(reduced_motion=motion)
    service.gate.clear()
    choose(page, file("slow.jpg"))
    expect(page.locator("[data-state=busy] .badge svg")).to_have_css("animation-name", animation)


def test_page_follows_light_and_dark(page: Page) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    light, dark = (sum(map(int, re.findall(r"\d+", colours[scheme]))) for scheme in ("light", "dark"))
    assert light > 700
    assert dark < 100


def test_documentation_works_without_any_other_server(page: Page, service: StandIn) -> None:
    page.get_by_role("navigation").get_by_role("link", name="API docs").click()
    page.get_by_text("Cut-out of a portrait").click()
    with page.expect_response("**/v1/cutout") as waiting:
        page.get_by_role("button", name="Execute").click()
    assert waiting.value.request.method == "POST"
    assert (
        json.loads(page.request.get(f"{service.address}/openapi.json").text())["info"]["title"] == "u2matte"
    )
