"""Photos as callers have them become files without a changed pixel, and what is none is refused in a sentence."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from app.client import CutoutOptions, Pixels
from app.client.photos import FILE, PNG, read_photo
from app.client.requests import cutout_call, matte_call
from app.imaging.decode import decode_image

CHANCE = np.random.default_rng(5)
RGB = CHANCE.integers(0, 256, (37, 53, 3), np.uint8)


def sent(photo: object) -> np.ndarray:
    """The pixels of what is sent, as another program reads them: BGR, BGRA or grey."""
    data, kind = read_photo(photo)  # type: ignore[arg-type]
    assert kind == PNG
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_photo_may_be_a_path_bytes_or_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    path.write_bytes(b"photo")
    with path.open("rb") as file:
        for source in (
            *(path, str(path), file, io.BytesIO(b"photo")),
            *(b"photo", bytearray(b"photo"), memoryview(b"photo")),
        ):
            assert read_photo(source) == (b"photo", FILE)


def test_file_opened_as_text_is_refused() -> None:
    with pytest.raises(TypeError, match="binary"):
        read_photo(io.StringIO("photo"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        *("http://host/p.jpg", "HTTPS://host/p.jpg", "s3://bucket/p.jpg", "file:///p.jpg"),
        *("data:image/png;base64,AAAA", Path("https://host/p.jpg"), "ftp://" + "x" * 5000),
    ],
)
def test_addresses_are_never_fetched_and_the_error_says_so(address: str | Path) -> None:
    with pytest.raises(ValueError, match="is an address: nothing is fetched from there") as raised:
        read_photo(address)
    assert len(str(raised.value)) < 200


def test_file_names_with_a_colon_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.jpg", "c:p.jpg", "at http:.jpg", "http:p.jpg"):
        Path(name).write_bytes(b"photo")
        assert read_photo(name) == (b"photo", FILE)
    with pytest.raises(FileNotFoundError):
        read_photo("C:\\p.jpg")
    with pytest.raises(FileNotFoundError):
        read_photo("C:/p.jpg")


@pytest.mark.parametrize(
    "other", [None, 5, ["p.jpg"], object(), {"image": b""}], ids=lambda value: type(value).__name__
)
def test_what_is_no_photo_is_refused_with_what_is_one(other: object) -> None:
    with pytest.raises(TypeError, match=rf"a NumPy array or .* not {type(other).__name__}$"):
        read_photo(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "view",
    [
        RGB,
        *(RGB[::-1], RGB[:, ::-1], RGB[::2, 3:], np.asfortranarray(RGB)),
        *(RGB[:1, :1], RGB[:1], RGB[:, :1], RGB.transpose(1, 0, 2)),
    ],
)
def test_array_is_rgb_and_comes_through_as_it_is(view: np.ndarray) -> None:
    before = view.copy()
    assert np.array_equal(sent(view), view[..., ::-1])
    assert np.array_equal(view, before)


def test_bgr_is_said_by_name() -> None:
    bgr = np.ascontiguousarray(RGB[..., ::-1])
    assert np.array_equal(sent(Pixels(bgr, channels="BGR")), bgr)
    assert read_photo(Pixels(bgr, channels="BGR")) == read_photo(RGB) == read_photo(Pixels(RGB))
    with pytest.raises(ValueError, match='"RGB" or "BGR", not \'bgr\''):
        Pixels(bgr, channels="bgr")  # type: ignore[arg-type]


def test_alpha_is_the_fourth_channel_in_both_orders() -> None:
    rgba = CHANCE.integers(0, 256, (9, 8, 4), np.uint8)
    bgra = rgba[..., [2, 1, 0, 3]]
    assert np.array_equal(sent(rgba), bgra)
    assert np.array_equal(sent(Pixels(bgra, "BGR")), bgra)


def test_grey_is_grey_in_both_orders() -> None:
    grey = RGB[..., 0]
    for photo in (grey, grey[..., None], Pixels(grey, "BGR")):
        assert np.array_equal(sent(photo), grey)


def test_read_only_arrays_are_photos_too() -> None:
    frozen = RGB.copy()
    frozen.flags.writeable = False
    assert np.array_equal(sent(frozen), RGB[..., ::-1])


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int8, bool])
def test_array_of_another_type_is_refused_by_its_name(dtype: type) -> None:
    with pytest.raises(TypeError, match=f"uint8, 0 to 255; this one is {np.dtype(dtype)}"):
        read_photo(RGB.astype(dtype))


@pytest.mark.parametrize(
    "shape", [(3, 40, 50), (1, 40, 50, 3), (40, 50, 2), (40, 50, 5), (0, 50, 3), (40, 0), (40,), ()]
)
def test_array_of_another_shape_is_refused_by_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"this one is {' x '.join(map(str, shape))}$"):
        read_photo(np.zeros(shape, np.uint8))


def test_pixels_of_what_is_no_array_are_refused() -> None:
    with pytest.raises(TypeError, match="pixels are a NumPy array, not list"):
        read_photo(Pixels([[0]], "BGR"))  # type: ignore[arg-type]


def test_picture_of_pillows_comes_through_as_it_is() -> None:
    assert np.array_equal(sent(PIL.Image.fromarray(RGB)), RGB[..., ::-1])
    assert np.array_equal(sent(PIL.Image.fromarray(RGB[..., 0])), RGB[..., 0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])  # fmt: skip # noqa: E501
def test_picture_of_each_mode_is_one_that_the_service_reads(mode: str) -> None:
    chain = {"La": "LA", "PA": "P", "RGBa": "RGBA", "LAB": None}
    picture = PIL.Image.fromarray(RGB)
    if mode == "LAB":
        srgb, lab = PIL.ImageCms.createProfile("sRGB"), PIL.ImageCms.createProfile("LAB")
        picture = PIL.ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    else:
        picture = picture.convert(chain.get(mode, mode)).convert(mode)
    assert picture.mode == mode
    data, kind = read_photo(picture)
    assert kind == PNG
    assert decode_image(data, max_pixels=10**6).shape == RGB.shape


@pytest.mark.parametrize("mode", ["I", "F"])
def test_picture_without_a_white_is_refused_with_what_to_do(mode: str) -> None:
    with pytest.raises(ValueError, match=f'mode {mode} has no white: convert it to "RGB"'):
        read_photo(PIL.Image.new(mode, (4, 4)))


def test_picture_that_lies_on_its_side_is_sent_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned right
    file = io.BytesIO()
    PIL.Image.fromarray(RGB).save(file, "PNG", exif=exif)
    picture = PIL.Image.open(file)
    upright = np.rot90(RGB, -1)
    assert np.array_equal(sent(picture), upright[..., ::-1])
    assert np.array_equal(decode_image(read_photo(picture)[0], max_pixels=10**6), upright)
    assert np.array_equal(decode_image(file.getvalue(), max_pixels=10**6), upright)


def test_colour_profile_of_a_picture_is_kept() -> None:
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    picture = PIL.Image.fromarray(RGB)
    picture.info["icc_profile"] = profile
    data, _ = read_photo(picture)
    assert PIL.Image.open(io.BytesIO(data)).info["icc_profile"] == profile


def test_calls_take_all_of_them_and_a_background_too() -> None:
    assert matte_call(RGB, {}).files == {"image": read_photo(RGB)[0]}
    for background in (RGB, Pixels(RGB), PIL.Image.fromarray(RGB), b"beach"):
        call = cutout_call(RGB, CutoutOptions(background=background))
        assert call.files == {"image": read_photo(RGB)[0], "background": read_photo(background)[0]}
        assert "background" not in call.fields


def test_reading_files_loads_neither_numpy_nor_pillow(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(b"photo")
    program = (
        "import io, sys; from app.client.photos import read_photo\n"
        "for each in ('p.jpg', b'photo', io.BytesIO(b'photo')): read_photo(each)\n"
        "assert not {'numpy', 'PIL'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip # noqa: E501
    assert done.returncode == 0, done.stderr
