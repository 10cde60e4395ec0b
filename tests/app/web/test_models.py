"""Which model cuts a photo out: offered where there are several, remembered for each photo."""

from __future__ import annotations

import shlex

import PIL.Image
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.web.page_driver import choose, expect_condition, file, focused, photo, pick, saved
from tests.app.web.stub_service import KEY, PORTRAIT, StandIn

pytestmark = pytest.mark.slow  # half a minute of browser, for services with several models

PEOPLE = {"name": "people", "version": "1", "role": "kept"}
CANDIDATE = {"name": "portrait", "version": "4", "role": "shadow"}
LONG = {"name": "a" + "-very-long-name" * 4, "version": "2026-01-31", "role": "kept"}


def chooser(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Model", exact=True)


def opened(page: Page, service: StandIn, *models: dict[str, str]) -> Page:
    """The page, with `models` in service; it has heard of them."""
    service.models = list(models)
    with page.expect_response("**/v1/models"):
        page.reload()
    return page


def asked(service: StandIn) -> list[tuple[str, str | None]]:
    return [(each["name"], each.get("model")) for each in service.asked]


def area(picture: PIL.Image.Image) -> float:
    """The person's share of the picture, 0 to 1."""
    alpha = picture.getchannel("A")
    return (
        sum(level * count for level, count in enumerate(alpha.histogram())) / 255 / alpha.width / alpha.height
    )


def test_choice_is_offered_where_several_models_answer(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE, CANDIDATE)
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(chooser(page)).to_have_value("")
    expect(chooser(page).get_by_role("option")).to_have_text(["portrait@3 (default)", "people@1"])
    expect(chooser(page)).to_have_accessible_description("For this photo and those added next.")
    assert asked(service) == [("anna.jpg", None)]


@pytest.mark.parametrize("models", [[PORTRAIT], [PORTRAIT, CANDIDATE], [], None])
def test_no_choice_is_offered_where_there_is_none(
    page: Page, service: StandIn, models: list[dict[str, str]] | None
) -> None:
    service.models = models
    with page.expect_response("**/v1/models"):
        page.reload()
    with page.expect_response("**/v1/models"):  # It is asked again with each photo that comes.
        choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(page.locator("#models")).to_be_hidden()
    assert asked(service) == [("anna.jpg", None)]


def test_answer_that_is_no_list_of_models_offers_no_choice(page: Page) -> None:
    page.route("**/v1/models", lambda route: route.fulfill(body="<html>", content_type="text/html"))
    page.reload()
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(page.locator("#models")).to_be_hidden()


def recut(page: Page, service: StandIn, name: str, model: str) -> None:
    """Choose `model` for the shown photo, whose name begins with "slow", and wait for its new cut-out."""
    service.gate.clear()
    chooser(page).select_option(model)
    expect_condition(page, name, "cutting out")
    service.gate.set()
    expect_condition(page, name, "done")


def test_another_model_cuts_the_shown_photo_out_anew(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    choose(page, file("slow-1.jpg"), file("slow-2.jpg"))
    expect(page.locator("#news")).to_have_text("2 of 2 done.")
    by_default = area(saved(page))
    recut(page, service, "slow-1.jpg", "people@1")
    assert area(saved(page)) < by_default / 2
    recut(page, service, "slow-1.jpg", "")
    assert area(saved(page)) == by_default
    assert asked(service)[2:] == [("slow-1.jpg", "people@1"), ("slow-1.jpg", None)]


def test_each_photo_keeps_its_model_and_the_next_ones_take_the_last_choice(
    page: Page, service: StandIn
) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    choose(page, file("anna.jpg"), file("slow.jpg"))
    expect(page.locator("#news")).to_have_text("2 of 2 done.")
    photo(page, "slow.jpg").check(force=True)
    recut(page, service, "slow.jpg", "people@1")
    photo(page, "anna.jpg").check(force=True)
    expect(chooser(page)).to_have_value("")
    photo(page, "slow.jpg").check(force=True)
    expect(chooser(page)).to_have_value("people@1")
    choose(page, file("carl.jpg"))
    expect_condition(page, "carl.jpg", "done")
    assert asked(service)[2:] == [("slow.jpg", "people@1"), ("carl.jpg", "people@1")]


def test_colour_needs_no_new_matte_of_the_chosen_model(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    choose(page, file("slow.jpg"))
    expect_condition(page, "slow.jpg", "done")
    recut(page, service, "slow.jpg", "people@1")
    pick(page, "Background", "Colour")
    assert saved(page).getpixel((0, 0)) == (255, 255, 255, 255)
    assert len(service.asked) == 2


def test_choice_while_a_photo_is_on_its_way_gives_the_first_attempt_up(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    service.gate.clear()
    choose(page, *(file(f"slow-{number}.jpg") for number in range(3)))
    expect_condition(page, "slow-0.jpg", "cutting out")
    expect_condition(page, "slow-1.jpg", "cutting out")
    with page.expect_event("requestfailed"):
        chooser(page).select_option("people@1")
    # Its place went to the one that waited, which keeps its own place though a model is chosen for it.
    expect_condition(page, "slow-2.jpg", "cutting out")
    expect_condition(page, "slow-0.jpg", "waiting")
    chooser(page).select_option("")
    chooser(page).select_option("people@1")
    service.gate.set()
    expect(page.locator("#news")).to_have_text("3 of 3 done.")
    assert asked(service)[2:] == [("slow-2.jpg", None), ("slow-0.jpg", "people@1")]


def test_high_quality_and_the_services_own_formats_come_from_the_chosen_model(
    page: Page, service: StandIn
) -> None:
    page.add_init_script(
        "const real = HTMLCanvasElement.prototype.toBlob;"
        "HTMLCanvasElement.prototype.toBlob = function (done) { real.call(this, done, 'image/png'); };"
    )
    opened(page, service, PORTRAIT, PEOPLE)
    choose(page, file("doubtful.jpg"))
    expect(page.get_by_text("Look closely at this one.")).to_be_visible()
    with page.expect_response("**/v1/cutout"):
        chooser(page).select_option("people@1")
    with page.expect_response("**/v1/cutout"):
        page.get_by_role("button", name="Try high quality").click()
    expect_condition(page, "doubtful.jpg", "done, look closely")
    pick(page, "Download as", "WebP")
    assert saved(page).format == "WEBP"
    told = [(each["quality"], each.get("model"), each.get("format")) for each in service.asked]
    assert told == [
        ("standard", None, None),
        ("standard", "people@1", None),
        ("high", "people@1", None),
        ("high", "people@1", "webp"),
    ]


def test_choice_appears_once_the_key_was_given(page: Page, service: StandIn) -> None:
    service.locked = True
    opened(page, service, PORTRAIT, PEOPLE)
    expect(page.get_by_role("dialog")).to_be_hidden()
    choose(page, file("anna.jpg"))
    page.get_by_label("API key").fill("a-wrong-one")
    page.keyboard.press("Enter")
    expect(page.get_by_text("did not accept that key")).to_be_visible()
    expect(page.locator("#models")).to_be_hidden()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect_condition(page, "anna.jpg", "done")
    expect(chooser(page)).to_be_visible()
    page.reload()
    choose(page, file("bert.jpg"))
    expect(chooser(page)).to_be_visible()


def test_model_that_has_left_is_told_and_another_takes_its_place(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    choose(page, file("slow.jpg"))
    expect_condition(page, "slow.jpg", "done")
    recut(page, service, "slow.jpg", "people@1")
    service.models = [PORTRAIT, {**PEOPLE, "version": "2"}]
    choose(page, file("anna.jpg"))
    expect(chooser(page).get_by_role("option")).to_have_text(
        ["portrait@3 (default)", "people@2", "people@1 (no longer in service)"]
    )
    page.get_by_role("button", name="Remove this photo").click()
    expect_condition(page, "anna.jpg", "failed: Unknown model")
    expect(page.get_by_text("No model 'people@1' is in service.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect_condition(page, "anna.jpg", "done")
    expect(chooser(page).get_by_role("option")).to_have_text(["portrait@3 (default)", "people@2"])
    choose(page, file("bert.jpg"))
    expect_condition(page, "bert.jpg", "done")
    assert asked(service)[2:] == [("anna.jpg", "people@1"), ("anna.jpg", None), ("bert.jpg", None)]


def test_shown_command_names_the_model(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    page.get_by_text("Do the same from a terminal").click()
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    assert "model" not in page.locator("#curl").inner_text()
    chooser(page).select_option("people@1")
    expect(page.locator("#curl")).to_contain_text("model=people@1")
    command = shlex.split(page.locator("#curl").inner_text())
    assert command[command.index("model=people@1") - 1] == "-F"


def test_model_is_chosen_by_keyboard_and_keeps_the_focus(page: Page, service: StandIn) -> None:
    opened(page, service, PORTRAIT, PEOPLE)
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    page.locator("#clear").focus()
    page.keyboard.press("Tab")
    assert focused(page) == "model"
    with page.expect_response("**/v1/cutout"):
        page.keyboard.press("p")  # As far as the next one that begins so.
    expect_condition(page, "anna.jpg", "done")
    assert focused(page) == "model"
    expect(chooser(page)).to_have_value("people@1")
    assert asked(service)[1:] == [("anna.jpg", "people@1")]


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_long_names_leave_the_page_as_wide_as_the_screen(page: Page, service: StandIn, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    opened(page, service, PORTRAIT, LONG)
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(chooser(page)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Wide as the other choices, and high enough for a thumb.
    edges = """(box) => {
      const list = box.querySelector('select');
      const tiles = document.querySelector('.panel fieldset:not([hidden]) .tiles');
      const [mine, others] = [list.getBoundingClientRect(), tiles.getBoundingClientRect()];
      return [mine.left === others.left, mine.right === others.right, mine.height >= 44];
    }"""
    assert page.locator("#models").evaluate(edges) == [True, True, True]
