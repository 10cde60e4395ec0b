"""Folders of photos and mattes as pairs.

In: a folder laid out as P3M-10k is (Li et al., ACM MM 2021), or one's own with `image/` and `mask/`. Out: pairs of
paths, by stem, and what has only one half. A mask belongs to the photo of its stem, with or without `_mask`,
`-matte`, `_alpha` behind it. Decodes nothing: `training.inspection.inspect` looks into the files.

    P3M-10k/train/{blurred_image,mask}                                      9,421 pairs
    P3M-10k/validation/P3M-500-P/{blurred_image,mask,trimap}                500, faces blurred as in train
    P3M-10k/validation/P3M-500-NP/{original_image,mask,trimap}              500, faces not blurred

Older copies lack the level `validation/`. Folders beside these (`fg_blurred`, `bg`, `facemask`) are not read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
MASK_SUFFIXES: Final = (*PHOTO_SUFFIXES, ".bmp", ".tif", ".tiff")
# What file managers leave behind; so do names that begin with a dot (`._photo.jpg`, `.DS_Store`).
SYSTEM_FILES: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_MASK_ENDING: Final = re.compile(r"[-_ ](mask|matte|alpha|trimap)$", re.IGNORECASE)

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
_SHOWN: Final = 5  # folders that an error names


class DatasetError(ValueError):
    """The folder is not laid out as P3M-10k is; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One portrait and its alpha; `trimap` (0/128/255) only where the split has one."""

    stem: str
    image: Path
    alpha: Path
    trimap: Path | None = None


Files = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """A split's files by the stems of their pairs, the first of each being the one that is used; and how many files
    of other suffixes are beside them, by folder and suffix."""

    images: Files
    masks: Files
    trimaps: Files
    others: Mapping[str, Mapping[str, int]]

    @property
    def duplicates(self) -> tuple[Sequence[Path], ...]:
        """Where several files have one stem."""
        kinds = (self.images, self.masks, self.trimaps)
        return tuple(paths for files in kinds for paths in files.values() if len(paths) > 1)


@dataclass(frozen=True, slots=True)
class Split:
    """The pairs of a split, by stem, the stems that have only one half, and the files they were found among."""

    name: str
    pairs: tuple[Pair, ...]
    images_without_alpha: tuple[str, ...]
    alphas_without_image: tuple[str, ...]
    listing: SplitFiles


@dataclass(frozen=True, slots=True)
class Sources:
    """Files to read: photos with their alphas in the same order, and backgrounds; or, where `alphas` is empty, files
    of the cache (`training.data.cache`), which hold photo and alpha in one."""

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
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    if is_own_folder(root):
        return _own_split(root, split)
    if split not in IMAGE_FOLDERS:
        raise DatasetError(f"unknown split {split!r}: use one of {', '.join(IMAGE_FOLDERS)}")
    folder = _find_split(root, split)
    return _paired(folder, IMAGE_FOLDERS[split], split)


def split_names(root: Path) -> tuple[str, ...]:
    """The splits that `root` may have: one's own folder's, or P3M-10k's."""
    return OWN_SPLITS if is_own_folder(root) else tuple(IMAGE_FOLDERS)


def is_own_folder(root: Path) -> bool:
    return all((root / name).is_dir() for name in OWN_FOLDERS)


def _own_split(root: Path, split: str) -> Split:
    if split not in OWN_SPLITS:
        raise DatasetError(
            f"{root} has image/ and mask/: its splits are {', '.join(OWN_SPLITS)}, not {split!r}. "
            'To train on it, set validation_split = "held-out" in the document'
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
    listing = list_files(folder, image_folder)
    images, masks, trimaps = listing.images, listing.masks, listing.trimaps
    pairs = tuple(
        Pair(stem, images[stem][0], masks[stem][0], trimaps[stem][0] if stem in trimaps else None)
        for stem in sorted(images.keys() & masks.keys())
    )
    if not pairs:
        seen = "; ".join(
            f"{name}/ has {describe_suffixes_in(folder / name)}" for name in (image_folder, "mask")
        )
        raise DatasetError(
            f"{folder}: no photo has a mask of the same name: {seen}.{_names(images, masks)} Photos are read from "
            f"{', '.join(PHOTO_SUFFIXES)}, masks from {', '.join(MASK_SUFFIXES)}"
        )
    return Split(
        split,
        pairs,
        images_without_alpha=tuple(sorted(images.keys() - masks.keys())),
        alphas_without_image=tuple(sorted(masks.keys() - images.keys())),
        listing=listing,
    )


def _names(images: Files, masks: Files) -> str:
    """One of each, so that a person sees how they differ; nothing where there are not both."""
    if not (images and masks):
        return ""
    image, mask = (files[min(files)][0] for files in (images, masks))
    return f" Names are such as {image.parent.name}/{image.name} and {mask.parent.name}/{mask.name}."


def list_files(folder: Path, image_folder: str) -> SplitFiles:
    """The pictures in a split's folder."""
    photos = list_pictures(folder / image_folder, PHOTO_SUFFIXES)
    images = _by_stem((path.stem, path) for path in photos)
    masks, trimaps = (_layers_of(images, folder / name) for name in ("mask", "trimap"))
    suffixes = {image_folder: PHOTO_SUFFIXES, "mask": MASK_SUFFIXES, "trimap": MASK_SUFFIXES}
    others = {name: _others(folder / name, read) for name, read in suffixes.items()}
    return SplitFiles(images, masks, trimaps, {name: kinds for name, kinds in others.items() if kinds})


def _layers_of(images: Files, folder: Path) -> Files:
    """Masks or trimaps by their photos' stems; the exact stem comes first. None without the folder."""
    found = list_pictures(folder, MASK_SUFFIXES) if folder.is_dir() else []
    named = [(_photo_stem(images, path.stem), path) for path in found]
    return _by_stem(sorted(named, key=lambda each: each[0] != each[1].stem))


def list_pictures(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of these suffixes, sorted by name. Raises DatasetError when there is no such folder."""
    return [path for path in _files_in(folder) if path.suffix.lower() in suffixes]


def describe_suffixes_in(folder: Path) -> str:
    """How many files of which suffix, in words: "40 .webp, 3 .heic"."""
    return describe_suffixes(Counter(path.suffix.lower() for path in _files_in(folder)))


def describe_suffixes(kinds: Mapping[str, int]) -> str:
    """The same of a count by suffix, the most first."""
    ranked = sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in ranked) or "no files"


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not (_is_system_file(p.name) or p.is_dir()))
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(f"{folder}: no such folder") from None


def _is_system_file(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def _others(folder: Path, suffixes: Sequence[str]) -> Mapping[str, int]:
    files = _files_in(folder) if folder.is_dir() else []
    return Counter(path.suffix.lower() for path in files if path.suffix.lower() not in suffixes)


def _photo_stem(images: Files, stem: str) -> str:
    """The photo's stem that a mask's `stem` means; the mask's own where it means none."""
    plain = _MASK_ENDING.sub("", stem)
    return plain if stem not in images and plain in images else stem


def _by_stem(named: Iterable[tuple[str, Path]]) -> Files:
    found: dict[str, list[Path]] = {}
    for stem, path in named:
        found.setdefault(stem, []).append(path)
    return found


def _find_split(root: Path, split: str) -> Path:
    candidates = [base / level / split for base in (root, root / "P3M-10k") for level in ("", "validation")]
    for folder in candidates:
        if (folder / IMAGE_FOLDERS[split]).is_dir() and (folder / "mask").is_dir():
            return folder
    tried = ", ".join(str(folder) for folder in candidates)
    there = ", ".join(sorted(f"{path.name}/" for path in root.iterdir() if path.is_dir())[:_SHOWN])
    raise DatasetError(
        f"{root} has {there or 'no folders'}. Put photos in image/ and masks of the same names in mask/, or lay it "
        f"out as P3M-10k: there are no {IMAGE_FOLDERS[split]}/ and mask/ for {split} in {tried}"
    )


def list_backgrounds(folder: Path) -> tuple[Path, ...]:
    """Every picture below `folder`, sorted. Raises DatasetError when there is none."""
    found = tuple(sorted(path for path in folder.rglob("*") if _is_background(path.relative_to(folder))))
    if not found:
        there = "no picture found" if folder.is_dir() else "no such folder"
        raise DatasetError(f"{folder}: {there} for background replacement")
    return found


def _is_background(path: Path) -> bool:
    """By its name below the folder."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not any(map(_is_system_file, path.parts))
