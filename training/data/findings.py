"""What an inspection of a data set can find, and what each finding means for a training run.

A problem makes a run fail, learn something wrong or misjudge itself; a warning is worth a look. Some problems are
only odd: a mask may be empty because nobody is there. Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FindingKind(StrEnum):
    """The value is the heading of its list; the order is the order of the lists."""

    NO_PAIR = "split that cannot be used"
    NO_MASK = "image without mask"
    NO_IMAGE = "mask without image"
    TWICE = "several files of one stem"
    UNREADABLE = "unreadable file"
    SIZE_MISMATCH = "size mismatch"
    COLOURED = "mask in colour"
    UNCLEAR = "mask that can be read in more than one way"
    SCALE = "mask of another scale"
    EMPTY = "empty mask"
    FAINT = "mask without an opaque pixel"
    FULL = "full mask"
    INVERTED = "mask that looks inverted"
    NO_TRIMAP = "pair without trimap"
    ODD_TRIMAP = "odd values in a trimap"
    OTHER_FORMAT = "files of other formats"
    LEAK = "same photo in two splits"
    REPEATED = "same photo twice in a split"
    ORIENTED = "EXIF orientation"
    LONE_TRIMAP = "trimap without pair"


WARNINGS: Final = frozenset(
    {
        FindingKind.OTHER_FORMAT,
        FindingKind.LEAK,
        FindingKind.REPEATED,
        FindingKind.ORIENTED,
        FindingKind.LONE_TRIMAP,
    }
)


class AllowableProblem(StrEnum):
    """The problems that a person may know to be none, by the names that `train --allow` takes."""

    TWICE = "twice"
    EMPTY = "empty"
    FAINT = "faint"
    FULL = "full"
    INVERTED = "inverted"

    @property
    def kind(self) -> FindingKind:
        return FindingKind[self.name]


MEANING: Final = {
    FindingKind.NO_PAIR: "Its folder is there, but the folders or the pairs that it should hold are not.",
    FindingKind.NO_MASK: "Left out of training. Is the copy complete?",
    FindingKind.NO_IMAGE: "Left out of training. Is the copy complete?",
    FindingKind.TWICE: "Only the first of them is used.",
    FindingKind.UNREADABLE: "Training stops at it. Replace the file, or remove it and its pair.",
    FindingKind.SIZE_MISMATCH: "Mask and trimap must be as high and as wide as the photo is when a viewer shows it.",
    FindingKind.COLOURED: "A mask must be grey. Of a cut-out, save the alpha channel alone.",
    FindingKind.UNCLEAR: "Save the matte alone: 8 bits, grey, without an alpha channel.",
    FindingKind.SCALE: "Alpha is value/255, of 16 bits value/65535. Masks of 0 and 1 must be multiplied by 255.",
    FindingKind.EMPTY: "Every pixel is 0: the network learns that nobody is there.",
    FindingKind.FAINT: "Alpha is value/255: nothing here is wholly of the person.",
    FindingKind.FULL: "Every pixel is 255: the network learns that everything is of the person.",
    FindingKind.INVERTED: "The border is opaque and the middle is not. The person must be white, the background "
    "black.",
    FindingKind.NO_TRIMAP: "Scores within the trimap (SAD-T …) are given only where every pair has one.",
    FindingKind.ODD_TRIMAP: "A trimap is 0 (background), 128 (unknown) and 255 (opaque).",
    FindingKind.OTHER_FORMAT: "Not read. Photos are JPEG, PNG or WebP; masks and trimaps may be TIFF or BMP, too.",
    FindingKind.LEAK: "If one of them is train, it has seen what it is judged by: figures are too good.",
    FindingKind.REPEATED: "It counts twice.",
    FindingKind.ORIENTED: "The photo is turned upright wherever it is read; is its mask upright, too?",
    FindingKind.LONE_TRIMAP: "Not used.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`file` is relative to the data set's root, with `/`; `stem` is empty where the finding is about a folder."""

    kind: FindingKind
    split: str
    stem: str
    file: str
    what: str

    @property
    def is_problem(self) -> bool:
        return self.kind not in WARNINGS
