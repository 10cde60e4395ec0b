"""What the largest photos take: the service's resident memory at its peak, over what it holds at rest.

    .venv/bin/python -m tests.bench.bench_memory [--height 6944 --width 9280]

Each kind of request in a fresh process, after small photos: NASA's portrait, enlarged, as the file and with the
options that are named. Linux: reads and resets the peak in /proc.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Final

import cv2
import httpx
import numpy as np
import PIL.Image
import skimage.data

from app.settings import BUILT_IN_MODEL
from tests.bench.load import photo
from tests.support.servers import serving

UPLOAD_MAX: Final = 200_000_000
PIXELS_MAX: Final = 100_000_000
PATIENCE_S: Final = 300
LAID: Final = {"blur": "50", "shadow": "50"}
# What is asked for, by the file's kind: route and options.
REQUESTS: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    ("JPEG", "/v1/matte", {}),
    ("JPEG", "/v1/matte", {"quality": "high"}),
    ("PNG", "/v1/matte", {}),
    ("PNG with alpha", "/v1/matte", {}),
    ("WebP", "/v1/matte", {}),
    ("JPEG", "/v1/cutout", {}),
    ("PNG", "/v1/cutout", {}),
    ("JPEG", "/v1/cutout", {**LAID, "format": "jpg"}),
    ("PNG", "/v1/cutout", LAID),
    ("JPEG", "/v1/cutout", {"shadow": "50", "format": "webp"}),
)


def files(height: int, width: int) -> dict[str, bytes]:
    image = cv2.resize(skimage.data.astronaut(), (width, height), interpolation=cv2.INTER_CUBIC)
    alpha = np.full((height, width), 255, np.uint8)
    made = {kind: PIL.Image.fromarray(image) for kind in ("JPEG", "PNG", "WebP")}
    made["PNG with alpha"] = PIL.Image.fromarray(np.dstack((image, alpha)))
    return {kind: _file(picture, kind.partition(" ")[0]) for kind, picture in made.items()}


def _file(picture: PIL.Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=90, compress_level=1)
    return buffer.getvalue()


def measure(data: bytes, path: str, options: dict[str, str]) -> tuple[float, float, int]:
    """Megabytes at rest and at the peak, and the answer's status."""
    settings = {
        "MATTE_MAX_UPLOAD_BYTES": str(UPLOAD_MAX),
        "MATTE_MAX_PIXELS": str(PIXELS_MAX),
        "MATTE_REQUEST_TIMEOUT_MS": str(PATIENCE_S * 1000),
    }
    with serving(BUILT_IN_MODEL, **settings) as (process, address), httpx.Client(base_url=address) as client:
        for _ in range(3):
            client.post(path, files={"image": photo(512)})
        rest = _megabytes(process.child.pid, "VmRSS")
        Path(f"/proc/{process.child.pid}/clear_refs").write_text("5", encoding="ascii")
        answer = client.post(path, files={"image": data}, data=options, timeout=PATIENCE_S)
        return rest, _megabytes(process.child.pid, "VmHWM"), answer.status_code


def _megabytes(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Memory that the largest photos take.")
    parser.add_argument("--height", type=int, default=6_944)
    parser.add_argument("--width", type=int, default=9_280)
    chosen = parser.parse_args()
    made = files(chosen.height, chosen.width)
    print(f"{chosen.width} x {chosen.height}   at rest     peak    more, MB")
    for kind, path, options in REQUESTS:
        rest, peak, status = measure(made[kind], path, options)
        told = " ".join(f"{name}={value}" for name, value in options.items())
        line = f"{kind:15} {path:11} {told:28}"
        print(f"{line} {rest:6.0f}  {peak:6.0f}  {peak - rest:6.0f}  {status}")
