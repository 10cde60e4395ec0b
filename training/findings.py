"""What an inspection of a data set can find, and what each finding means for a training run.

A problem makes a run fail, learn something wrong or misjudge itself; a warning is worth a look. Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The value is the heading of its list; the order is the order of the lists."""

    NO_PAIR = "split that cannot be used"
    NO_MASK = "image without mask"
    NO_IMAGE = "mask without image"
    TWICE = "several files of one stem"
    UNREADABLE = "unreadable file"
    SIZE_MISMATCH = "size mismatch"
    DEEP = "more than 8 bits per channel"
    COLOURED = "mask in colour"
    EMPTY = "empty mask"
    FAINT = "mask without an opaque pixel"
    NO_TRIMAP = "pair without trimap"
    ODD_TRIMAP = "odd values in a trimap"
    LEAK = "same photo in two splits"
    REPEATED = "same photo twice in a split"
    FULL = "full mask"
    ORIENTED = "EXIF orientation"
    LONE_TRIMAP = "trimap without pair"


WARNINGS: Final = frozenset({Kind.LEAK, Kind.REPEATED, Kind.FULL, Kind.ORIENTED, Kind.LONE_TRIMAP})

MEANING: Final = {
    Kind.NO_PAIR: "Its folder is there, but the folders or the pairs that it should hold are not.",
    Kind.NO_MASK: "Left out of training. Is the copy complete?",
    Kind.NO_IMAGE: "Left out of training. Is the copy complete?",
    Kind.TWICE: "Only one of them is used, and which one is chance.",
    Kind.UNREADABLE: "Training stops at it, or, where pictures are cached, learns the grey of a cut-off JPEG.",
    Kind.SIZE_MISMATCH: "Mask and trimap must be as high and as wide as the image as it is stored.",
    Kind.DEEP: "Masks and trimaps have 8 bits: 0 is background, 255 is opaque.",
    Kind.COLOURED: "Only red counts. A mask is grey; is this a cut-out?",
    Kind.EMPTY: "Every pixel is 0: the network learns that nobody is there.",
    Kind.FAINT: "Alpha is value/255. Masks of 0 and 1 must be multiplied by 255.",
    Kind.NO_TRIMAP: "Scores within the trimap (SAD-T …) are given only where every pair has one.",
    Kind.ODD_TRIMAP: "A trimap is 0 (background), 128 (unknown) and 255 (opaque).",
    Kind.LEAK: "If one of them is train, it has seen what it is judged by: figures are too good.",
    Kind.REPEATED: "It counts twice.",
    Kind.FULL: "Every pixel is 255: no background at all.",
    Kind.ORIENTED: "Training and evaluation ignore it and use pixels as stored; is the mask stored likewise?",
    Kind.LONE_TRIMAP: "Not used.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`file` is relative to the data set's root, with `/`; `stem` is empty where the finding is about a folder."""

    kind: Kind
    split: str
    stem: str
    file: str
    what: str

    @property
    def is_problem(self) -> bool:
        return self.kind not in WARNINGS
