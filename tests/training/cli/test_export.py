"""The options of `export`."""

import pytest

from training.cli.export import _cascade


def test_cascade_is_read_from_sizes_and_confidences():
    assert _cascade("") == {}
    assert _cascade("256:0.96,320:0.94,384:0") == {256: 0.96, 320: 0.94, 384: 0.0}


@pytest.mark.parametrize("text", ["256", "256:high", "big:0.9", "256:0.9:1"])
def test_cascade_that_cannot_be_read_is_told_how_to_write_it(text):
    with pytest.raises(ValueError, match=r"write SIZE:CONFIDENCE,… as 256:0\.96,320:0\.94"):
        _cascade(text)
