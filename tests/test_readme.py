"""README's promises are kept: its tables are of this code, its curl lines work as they stand."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from app.settings import BUILT_IN_MODEL
from tests.processes import serving
from tests.tools.make_tables import DOCUMENTS, with_tables

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
# What follows height and width of each picture that README's lines write: grey, with alpha, or colours alone.
SHAPES = {
    "matte": (),
    "mask": (),
    "cutout": (4,),
    "small": (4,),
    "no-bg": (4,),
    "blue": (3,),
    "on-beach": (3,),
    "blurred": (3,),
}
CURLS = re.findall(r"^curl .*$", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_of_this_code_and_model(document):
    text = document.read_text(encoding="utf-8")
    assert "<!-- figures -->" in text
    assert with_tables(text) == text, "run: make docs"


def test_readme_lists_every_setting_and_error():
    assert {"<!-- settings -->", "<!-- errors -->"} <= set(TEXT.splitlines())


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_lines_work_as_they_stand(tmp_path):
    photo = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo)
    cv2.imwrite(str(tmp_path / "beach.jpg"), np.full((300, 500, 3), (180, 220, 240), np.uint8))
    assert len(CURLS) >= 8
    with serving(BUILT_IN_MODEL, MATTE_MAX_BATCH_SIZE="1") as (_, address):
        for line in CURLS:
            command = shlex.split(line.replace("http://127.0.0.1:8000", address))
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, line
            written = tmp_path / command[command.index("-o") + 1]
            picture = cv2.imread(str(written), cv2.IMREAD_UNCHANGED)
            if "size=0.25" in command:
                assert picture.shape[0] * picture.shape[1] <= 250_000, line
            else:
                assert picture.shape[:2] == photo.shape[:2], line
            assert SHAPES[written.stem] == picture.shape[2:], line
            written.unlink()
