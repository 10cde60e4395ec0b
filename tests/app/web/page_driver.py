"""What a person does with the page, and sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image
from playwright.sync_api import Locator, Page, expect

from tests.support.images import jpeg, portrait

PHOTO = jpeg(portrait(240, 320))

File = dict[str, Any]


def file(name: str, data: bytes = PHOTO) -> File:
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


def choose(page: Page, *files: File) -> None:
    page.set_input_files("#work:not([hidden]) #more, #welcome:not([hidden]) #choose", files)


def photo(page: Page, name: str) -> Locator:
    return page.get_by_role("radio", name=name)


def expect_condition(page: Page, name: str, condition: str) -> None:
    expect(page.get_by_role("radio", name=f"{name}, {condition}", exact=True)).to_be_attached()


def downloaded(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=button == "Download").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def saved(page: Page) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(downloaded(page, "Download")[1]))


def pick(page: Page, group: str, value: str) -> None:
    page.get_by_role("group", name=group, exact=True).get_by_text(value, exact=True).click()


def focused(page: Page) -> str:
    return page.evaluate(
        "document.activeElement.id || document.activeElement.name || document.activeElement.tagName"
    )
