"""Folders of photos and mattes as pairs.

In: a folder laid out as P3M-10k is (Li et al., ACM MM 2021), or one's own with `image/` and `mask/`. Out: pairs of
paths, by stem, and the stems that have only one half. Decodes nothing: `training.inspection` looks into the files.

    P3M-10k/train/{blurred_image,mask}                                      9,421 pairs
    P3M-10k/validation/P3M-500-P/{blurred_image,mask,trimap}                500, faces blurred as in train
    P3M-10k/validation/P3M-500-NP/{original_image,mask,trimap}              500, faces not blurred

Older copies lack the level `validation/`. Folders beside these (`fg_blurred`, `bg`, `facemask`) are not read.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")

# Where each of P3M-10k's splits keeps its images.
IMAGE_FOLDERS: Final = {
    "train": "blurred_image",
    "P3M-500-P": "blurred_image",
    "P3M-500-NP": "original_image",
}

# One's own folder has all its pairs in these two; a tenth of them, chosen by their stems, is never trained on.
OWN_FOLDERS: Final = ("image", "mask")
OWN_SPLITS: Final = ("train", "held-out")
HELD_OUT_SHARE: Final = 0.1


class DatasetError(ValueError):
    """The folder is not laid out as P3M-10k is; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One portrait and its alpha; `trimap` (0/128/255) only where the split has one."""

    stem: str
    image: Path
    alpha: Path
    trimap: Path | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The pairs of a split, by stem, and the stems that have only one half."""

    name: str
    pairs: tuple[Pair, ...]
    images_without_alpha: tuple[str, ...]
    alphas_without_image: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """Files to read: photos with their alphas in the same order, and backgrounds; or, where `alphas` is empty, files
    of the cache (`training.cache`), which hold photo and alpha in one."""

    images: tuple[Path, ...]
    alphas: tuple[Path, ...]
    backgrounds: tuple[Path, ...] = ()

    @classmethod
    def of(cls, pairs: Sequence[Pair], backgrounds: Sequence[Path] = ()) -> Sources:
        return cls(tuple(p.image for p in pairs), tuple(p.alpha for p in pairs), tuple(backgrounds))


@dataclass(frozen=True, slots=True)
class TrainData:
    """Pairs to train on with the files to read them from, and pairs to validate on."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    sources: Sources


def list_pairs(root: Path, split: str) -> Split:
    """Pair `split`'s images and mattes by stem.

    Finds P3M-10k's splits under `root/split` and `root/validation/split`, also one level deeper in `root/P3M-10k`; in
    one's own folder (`root/image`, `root/mask`) there are `train` and `held-out`.
    Raises DatasetError for an unknown split, a missing folder or a split without one whole pair.
    """
    if is_own(root):
        return _own_split(root, split)
    if split not in IMAGE_FOLDERS:
        raise DatasetError(f"unknown split {split!r}: use one of {', '.join(IMAGE_FOLDERS)}")
    folder = _find_split(root, split)
    return _paired(folder, IMAGE_FOLDERS[split], split)


def splits_of(root: Path) -> tuple[str, ...]:
    """The splits that `root` may have: one's own folder's, or P3M-10k's."""
    return OWN_SPLITS if is_own(root) else tuple(IMAGE_FOLDERS)


def is_own(root: Path) -> bool:
    return all((root / name).is_dir() for name in OWN_FOLDERS)


def _own_split(root: Path, split: str) -> Split:
    if split not in OWN_SPLITS:
        raise DatasetError(
            f"{root} has image/ and mask/: its splits are {', '.join(OWN_SPLITS)}, not {split!r}"
        )
    everything = _paired(root, OWN_FOLDERS[0], split)
    if len(everything.pairs) < 2:
        raise DatasetError(f"{root}: two pairs are the least, one to train on and one held out")
    ranks = {pair.stem: hashlib.sha256(pair.stem.encode()).digest() for pair in everything.pairs}
    # By the stem alone: a pair stays where it is when others are added.
    held_out = {stem for stem, rank in ranks.items() if rank[0] < HELD_OUT_SHARE * 256}
    held_out = held_out or {min(ranks, key=lambda stem: ranks[stem])}
    chosen = tuple(pair for pair in everything.pairs if (pair.stem in held_out) == (split == "held-out"))
    return dataclasses.replace(everything, pairs=chosen)


def _paired(folder: Path, image_folder: str, split: str) -> Split:
    images = _by_stem(folder / image_folder)
    alphas = _by_stem(folder / "mask")
    trimaps = _by_stem(folder / "trimap") if (folder / "trimap").is_dir() else {}
    pairs = tuple(
        Pair(stem, images[stem], alphas[stem], trimaps.get(stem))
        for stem in sorted(images.keys() & alphas.keys())
    )
    if not pairs:
        raise DatasetError(f"{folder}: no image has a mask of the same stem")
    return Split(
        split,
        pairs,
        images_without_alpha=tuple(sorted(images.keys() - alphas.keys())),
        alphas_without_image=tuple(sorted(alphas.keys() - images.keys())),
    )


def _find_split(root: Path, split: str) -> Path:
    candidates = [base / level / split for base in (root, root / "P3M-10k") for level in ("", "validation")]
    for folder in candidates:
        if (folder / IMAGE_FOLDERS[split]).is_dir() and (folder / "mask").is_dir():
            return folder
    tried = ", ".join(str(folder) for folder in candidates)
    raise DatasetError(
        f"no {IMAGE_FOLDERS[split]}/ and mask/ for {split}; looked in {tried}, and for {root}/image"
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}


def list_backgrounds(folder: Path) -> tuple[Path, ...]:
    """Every picture below `folder`, sorted. Raises DatasetError when there is none."""
    found = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES))
    if not found:
        raise DatasetError(f"{folder}: no picture found for background replacement")
    return found
