"""A small data set laid out as P3M-10k is, drawn by code: a skin-coloured head and shoulders on a striped wall."""

import cv2
import numpy as np


def draw_portrait(rng, height=96, width=72):
    """`(image uint8 [H,W,3] RGB, alpha uint8 [H,W])`: light people on dark walls, so that a network can learn it."""
    x = np.arange(width) / height
    stripes = 40 + 30 * np.sin(rng.uniform(10, 40) * x + rng.uniform(0, 6))
    wall = np.broadcast_to(stripes[None, :, None], (height, width, 3)) * rng.uniform(0.5, 1, 3)
    mask = np.zeros((height, width), np.uint8)
    centre = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.35, 0.45)))
    cv2.ellipse(mask, centre, (width // 5, height // 5), 0, 0, 360, 255, -1)
    cv2.ellipse(mask, (centre[0], height), (width // 3, height // 3), 0, 0, 360, 255, -1)
    alpha = cv2.GaussianBlur(mask, (5, 5), 0)
    share = alpha[:, :, None] / 255
    person = np.array([220, 180, 150]) * rng.uniform(0.9, 1.1)
    image = share * person + (1 - share) * wall + rng.normal(0, 4, wall.shape)
    return np.clip(image, 0, 255).astype(np.uint8), alpha


def write_data_set(root, *, train=6, validation=3, validation_level=True, seed=0, size=(96, 72)):
    """`root/train` and `root[/validation]/P3M-500-NP` (with trimaps) and -P; returns `root`."""
    rng = np.random.default_rng(seed)
    level = root / "validation" if validation_level else root
    _write_split(root / "train", "blurred_image", train, rng, size)
    for split, folder in (("P3M-500-NP", "original_image"), ("P3M-500-P", "blurred_image")):
        _write_split(level / split, folder, validation, rng, size, trimaps=True)
    return root


def _write_split(folder, images, count, rng, size, *, trimaps=False):
    for name in (images, "mask", "trimap") if trimaps else (images, "mask"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        image, alpha = draw_portrait(rng, *size)
        stem = f"p_{i:08x}"
        cv2.imwrite(str(folder / images / f"{stem}.jpg"), image[:, :, ::-1])
        cv2.imwrite(str(folder / "mask" / f"{stem}.png"), alpha)
        if trimaps:
            trimap = np.where((alpha > 0) & (alpha < 255), 128, alpha).astype(np.uint8)
            cv2.imwrite(str(folder / "trimap" / f"{stem}.png"), trimap)


def write_own_folder(root, count):
    """`root/image` and `root/mask` with `count` pairs; returns `root`."""
    for name in ("image", "mask"):
        (root / name).mkdir(parents=True)
    image, alpha = draw_portrait(np.random.default_rng(0))
    for i in range(count):
        cv2.imwrite(str(root / "image" / f"photo {i}.jpg"), image[:, :, ::-1])
        cv2.imwrite(str(root / "mask" / f"photo {i}.png"), alpha)
    return root


def write_backgrounds(folder, count=3):
    folder.mkdir()
    rng = np.random.default_rng(9)
    for i in range(count):
        noise = rng.integers(0, 90, (12, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f"b{i}.jpg"), cv2.resize(noise, (160, 120)))
    return folder
