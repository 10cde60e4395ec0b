"""Photos on their way: waiting, refused, tried again, given up."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.page_driver import PHOTO, choose, expect_condition, file, photo
from tests.app.web.stub_service import KEY, MAX_UPLOAD_BYTES, StandIn
from tests.support.images import jpeg, portrait, saved
from tests.support.other_formats import whole


def test_error_is_told_in_the_services_own_words_and_stops_no_other(page: Page) -> None:
    choose(page, file("anna.jpg"), file("broken.jpg"), file("carl.jpg"))
    expect_condition(page, "broken.jpg", "failed: Failed to read image")
    expect_condition(page, "anna.jpg", "done")
    expect_condition(page, "carl.jpg", "done")
    photo(page, "broken.jpg").check(force=True)
    expect(page.get_by_text("The JPEG file is truncated or damaged.")).to_be_visible()
    expect(page.get_by_role("button", name="Download", exact=True)).to_be_disabled()
    # The same file would be refused again.
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_what_may_work_later_can_be_tried_again(page: Page, service: StandIn) -> None:
    choose(page, file("late.jpg"))
    expect_condition(page, "late.jpg", "failed: Deadline passed")
    with page.expect_response("**/v1/cutout"):
        page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert service.tries["late.jpg"] == 2


def test_full_service_is_asked_again_without_a_click(page: Page, service: StandIn) -> None:
    choose(page, file("busy.jpg"))
    expect_condition(page, "busy.jpg", "done")
    assert service.tries["busy.jpg"] == 2


def test_lost_connection_is_tried_three_times_then_told(page: Page, service: StandIn) -> None:
    tried = []
    page.route("**/v1/cutout", lambda route: (tried.append(1), route.abort()))
    choose(page, file("anna.jpg"))
    expect_condition(page, "anna.jpg", "failed: No answer")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert len(tried) == 3


@pytest.mark.parametrize(
    ("name", "data", "title"),
    [
        ("notes.jpg", b"no photo at all", "Not a photo that can be read"),
        ("empty.jpg", b"", "Not a photo that can be read"),
        ("huge.jpg", PHOTO + bytes(MAX_UPLOAD_BYTES), "File too large"),
    ],
)
def test_file_that_the_service_would_refuse_is_not_sent(
    page: Page, service: StandIn, name: str, data: bytes, title: str
) -> None:
    choose(page, file(name, data), file("anna.jpg"))
    expect_condition(page, name, f"failed: {title}")
    expect_condition(page, "anna.jpg", "done")
    assert [asked["name"] for asked in service.asked] == ["anna.jpg"]


def test_two_are_sent_at_once_and_the_others_wait(page: Page, service: StandIn) -> None:
    service.gate.clear()
    choose(page, *(file(f"slow-{number}.jpg") for number in range(4)))
    expect_condition(page, "slow-0.jpg", "cutting out")
    expect_condition(page, "slow-1.jpg", "cutting out")
    expect_condition(page, "slow-2.jpg", "waiting")
    expect(page.locator("#news")).to_have_text("0 of 4 done.")
    service.gate.set()
    expect(page.locator("#news")).to_have_text("4 of 4 done.")
    assert service.most_at_once == 2


def test_fifty_photos_are_done_without_flooding_the_service(page: Page, service: StandIn) -> None:
    choose(page, *(file(f"{number}.jpg", jpeg(portrait())) for number in range(50)))
    expect(page.locator("#news")).to_have_text("50 of 50 done.", timeout=60_000)
    assert len(service.asked) == 50
    assert service.most_at_once <= 2


def test_key_is_asked_for_once_it_is_wanted_and_kept_in_the_tab(page: Page, service: StandIn) -> None:
    service.locked = True
    expect(page.get_by_role("dialog")).to_be_hidden()
    choose(page, file("anna.jpg"), file("bert.jpg"), file("carl.jpg"))
    dialog = page.get_by_role("dialog", name="This service asks for a key")
    dialog.get_by_label("API key").fill("a wrong one".replace(" ", "-"))
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("did not accept that key")).to_be_visible()
    dialog.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#news")).to_have_text("3 of 3 done.")
    expect(dialog).to_be_hidden()
    page.reload()
    choose(page, file("doris.jpg"))
    expect_condition(page, "doris.jpg", "done")
    assert page.evaluate("Object.values(sessionStorage)") == [KEY]
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_without_a_key_every_photo_tells_the_services_reason(page: Page, service: StandIn) -> None:
    service.locked = True
    choose(page, *(file(f"{number}.jpg") for number in range(4)))
    dialog = page.get_by_role("dialog", name="This service asks for a key")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("#news")).to_have_text("0 of 4 done, 4 failed.")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    expect(dialog).to_be_visible()


def test_removed_photo_is_no_longer_waited_for(page: Page, service: StandIn) -> None:
    service.gate.clear()
    choose(page, file("slow.jpg"), file("slow-too.jpg"), file("anna.jpg"))
    expect_condition(page, "slow-too.jpg", "cutting out")
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Remove this photo").click()
    expect_condition(page, "anna.jpg", "done")


def test_leaving_asks_only_while_photos_are_on_their_way(page: Page, service: StandIn) -> None:
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    service.gate.clear()
    choose(page, file("slow.jpg"))
    expect_condition(page, "slow.jpg", "cutting out")
    page.get_by_role(
        "heading", name="slow.jpg"
    ).click()  # Browsers ask only where a person has done something.
    page.close(run_before_unload=True)
    expect(page.get_by_role("heading", name="slow.jpg")).to_be_visible()
    service.gate.set()
    expect_condition(page, "slow.jpg", "done")
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert asked == ["beforeunload"]


def test_photo_that_the_browser_cannot_show_is_shown_once_it_is_cut_out(page: Page) -> None:
    """Chromium knows no TIFF, as most browsers know no HEIC."""
    choose(page, file("scan.tif", saved(portrait(240, 320), "TIFF")))
    expect_condition(page, "scan.tif", "done")
    expect(page.locator("#frame")).to_be_visible()
    expect(page.locator("#frame")).to_have_class(re.compile("single"))


def test_name_or_first_bytes_of_every_format_that_is_read_are_let_through(page: Page) -> None:
    files = whole(portrait(60, 80))
    choose(page, *(file(f"{number}.bin", data) for number, data in enumerate(files.values())))
    for number in range(len(files)):
        expect_condition(page, f"{number}.bin", "done")
