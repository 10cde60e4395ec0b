"""An inspection can be read on a terminal of 80 columns."""

import cv2
import numpy as np
from rich.console import Console

from tests.training.p3m_folders import write_data_set
from training.data.findings import MEANING, Finding, FindingKind
from training.inspection.inspect import Inspection, inspect
from training.inspection.view import SHOWN, view


def shown(inspection):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(view(inspection))
    return capture.get()


def rewrite(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def test_the_view_fits_80_columns_and_names_each_fault(tmp_path):
    root = write_data_set(tmp_path, train=4, validation=2)
    (root / "train" / "mask" / "p_00000000.png").unlink()
    rewrite(root / "train" / "mask" / "p_00000001.png", np.zeros((96, 72), np.uint8))
    text = shown(inspect(root))
    assert max(len(line) for line in text.splitlines()) <= 80
    row = next(line for line in text.splitlines() if "least…most" in line)
    assert row.count("96…96") == 3
    assert "empty mask (1)" in text
    assert "train/mask/p_00000001.png: every value is 0" in text
    assert "image without mask (1)" in text
    assert "2 problems, no warnings in 7 pairs" in text


def test_a_long_list_ends_with_the_number_of_the_rest(tmp_path):
    root = write_data_set(tmp_path, train=SHOWN + 4, validation=1)
    for mask in (root / "train" / "mask").iterdir():
        rewrite(mask, np.zeros((96, 72), np.uint8))
    text = shown(inspect(root))
    assert text.count(": every value is 0") == SHOWN
    assert "… and 4 more" in text


def test_names_in_brackets_are_shown_as_they_are():
    finding = {"kind": FindingKind.EMPTY, "split": "train", "stem": "[red]", "file": "[red].png", "what": "x"}
    assert "[red].png: x" in shown(Inspection(True, (), (), (Finding(**finding),)))


def test_every_kind_has_a_meaning():
    assert set(MEANING) == set(FindingKind)
