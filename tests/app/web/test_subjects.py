"""Who stays in a cut-out: offered where several people are found, remembered for each photo."""

from __future__ import annotations

import shlex

from playwright.sync_api import Locator, Page, expect

from tests.app.web.page_driver import choose, expect_condition, file, focused, photo, pick, saved
from tests.app.web.stub_service import StandIn

CORNER = (30, 20)  # of the photo, where the second person is


def chooser(page: Page) -> Locator:
    return page.get_by_role("group", name="People", exact=True)


def chosen(page: Page) -> str | None:
    return chooser(page).locator("input:checked").get_attribute("value")


def asked(service: StandIn) -> list[tuple[str, str | None]]:
    return [(each["name"], each.get("subject")) for each in service.asked]


def keep(page: Page, name: str, who: str) -> None:
    with page.expect_response("**/v1/cutout"):
        pick(page, "People", who)
    expect_condition(page, name, "done")


def test_photo_of_one_person_offers_no_choice(page: Page, service: StandIn) -> None:
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "done")
    expect(page.locator("#subjects")).to_be_hidden()
    assert asked(service) == [("anna.jpg", None)]


def test_main_person_alone_is_cut_out_anew_and_everybody_comes_back(page: Page, service: StandIn) -> None:
    choose(page, file("two.jpg"))
    expect_condition(page, "two.jpg", "done")
    expect(chooser(page)).to_have_accessible_description(
        "2 people or groups were found. For this photo and those added next."
    )
    assert chosen(page) == "all"
    assert saved(page).getpixel(CORNER)[3] == 255
    keep(page, "two.jpg", "Main person")
    assert saved(page).getpixel(CORNER)[3] == 0
    assert saved(page).getpixel((160, 120))[3] == 255
    keep(page, "two.jpg", "Everybody")
    assert saved(page).getpixel(CORNER)[3] == 255
    assert asked(service) == [("two.jpg", None), ("two.jpg", "main"), ("two.jpg", None)]


def test_each_photo_keeps_its_choice_and_the_next_ones_take_the_last(page: Page, service: StandIn) -> None:
    choose(page, file("two-1.jpg"), file("two-2.jpg"), file("anna.jpg"))
    expect(page.locator("#news")).to_have_text("3 of 3 done.")
    photo(page, "two-2.jpg").check(force=True)
    keep(page, "two-2.jpg", "Main person")
    photo(page, "anna.jpg").check(force=True)
    expect(chooser(page)).to_be_hidden()
    photo(page, "two-1.jpg").check(force=True)
    expect(chooser(page).get_by_role("radio", name="Everybody")).to_be_checked()
    photo(page, "two-2.jpg").check(force=True)
    expect(chooser(page).get_by_role("radio", name="Main person")).to_be_checked()
    choose(page, file("bert.jpg"))
    expect_condition(page, "bert.jpg", "done")
    # So that who has changed their mind finds the choice.
    photo(page, "bert.jpg").check(force=True)
    expect(chooser(page).get_by_role("radio", name="Main person")).to_be_checked()
    assert asked(service)[3:] == [("two-2.jpg", "main"), ("bert.jpg", "main")]


def test_choice_stays_in_place_with_the_focus_while_the_photo_is_cut_out(
    page: Page, service: StandIn
) -> None:
    choose(page, file("two.jpg"))
    expect_condition(page, "two.jpg", "done")
    chooser(page).get_by_role("radio", name="Everybody").focus()
    for key, who in (("ArrowRight", "Main person"), ("ArrowLeft", "Everybody")):
        with page.expect_response("**/v1/cutout"):
            page.keyboard.press(key)
        expect(chooser(page).get_by_role("radio", name=who)).to_be_checked()
        expect_condition(page, "two.jpg", "done")
        assert focused(page) == "subject"
    assert asked(service)[1:] == [("two.jpg", "main"), ("two.jpg", None)]


def test_high_quality_keeps_the_choice(page: Page, service: StandIn) -> None:
    choose(page, file("two.jpg"), file("doubtful.jpg"))
    expect(page.locator("#news")).to_have_text("2 of 2 done.")
    keep(page, "two.jpg", "Main person")
    choose(page, file("doubtful-2.jpg"))
    expect_condition(page, "doubtful-2.jpg", "done, look closely")
    photo(page, "doubtful-2.jpg").check(force=True)
    with page.expect_response("**/v1/cutout"):
        page.get_by_role("button", name="Try high quality").click()
    expect_condition(page, "doubtful-2.jpg", "done, look closely")
    assert [(each["quality"], each.get("subject")) for each in service.asked[3:]] == [
        ("standard", "main"),
        ("high", "main"),
    ]


def test_shown_command_names_the_subject(page: Page) -> None:
    page.get_by_text("Do the same from a terminal").click()
    choose(page, file("two.jpg"))
    expect_condition(page, "two.jpg", "done")
    assert "subject" not in page.locator("#curl").inner_text()
    keep(page, "two.jpg", "Main person")
    pick(page, "Download as", "Matte")
    expect(page.locator("#curl")).to_contain_text("v1/matte")
    command = shlex.split(page.locator("#curl").inner_text())
    assert command[command.index("subject=main") - 1] == "-F"
