"""Folders of mattes: the same figures as for arrays, by one process or two, and errors that name the file."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from tests.training.p3m_folders import draw_portrait
from training.data.dataset import DatasetError
from training.data.images import ImageError
from training.evaluation.score import ScoreError, score_folders, table
from training.metrics import score_matte

STEMS = tuple(f"p_{i:08x}" for i in range(5))


def write(path, pixels, **options):
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def folders(tmp_path):
    """`(predicted, truth, trimaps)`, five pictures each."""
    draws = np.random.default_rng(0)
    made = tuple(tmp_path / name for name in ("predicted", "truth", "trimaps"))
    for folder in made:
        folder.mkdir()
    for i, stem in enumerate(STEMS):
        _, alpha = draw_portrait(draws, 60 + i, 50)
        noisy = np.clip(alpha + draws.normal(0, 30, alpha.shape), 0, 255).astype(np.uint8)
        trimap = np.where((alpha > 0) & (alpha < 255), 128, alpha).astype(np.uint8)
        for folder, pixels in zip(made, (noisy, alpha, trimap), strict=True):
            write(folder / f"{stem}.png", pixels)
    return made


def pixels_of(folders, stem):
    return tuple(np.asarray(PIL.Image.open(folder / f"{stem}.png")) for folder in folders)


def test_the_document_has_each_images_figures_and_their_means(folders):
    document = json.loads(score_folders(*folders).to_json())
    assert set(document) == {"mean", "images", "missing"}
    assert document["images"] == {stem: score_matte(*pixels_of(folders, stem)) for stem in STEMS}
    assert set(document["mean"]) == {
        *("SAD", "MSE", "MAD", "SAD-T", "MSE-T", "MAD-T", "SAD-FG", "SAD-BG", "GRAD", "CONN", "mIoU")
    }
    for name, value in document["mean"].items():
        assert value == pytest.approx(np.mean([document["images"][stem][name] for stem in STEMS]))
    assert document["missing"] == []


def test_without_trimaps_the_metrics_by_region_are_left_out(folders):
    scored = score_folders(*folders[:2])
    assert set(scored.mean) == {"SAD", "MSE", "MAD", "GRAD", "CONN", "mIoU"}


def test_two_processes_give_what_one_gives(folders):
    seen = []
    two = score_folders(*folders, processes=2, progress=lambda *done: seen.append(done))
    assert two == score_folders(*folders, processes=1)
    assert seen == [(i + 1, 5) for i in range(5)]


def test_a_large_set_takes_a_process_per_core_by_itself(folders, monkeypatch):
    monkeypatch.setattr("training.evaluation.score.SMALL_SET", 0)
    assert score_folders(*folders) == score_folders(*folders, processes=1)


def test_what_has_no_counterpart_is_listed_and_not_scored(folders):
    predicted = folders[0]
    (predicted / f"{STEMS[0]}.png").unlink()
    write(predicted / "other.png", np.zeros((2, 2), np.uint8))
    (predicted / "notes.txt").touch()
    (predicted / "._p_00000001.png").touch()
    scored = score_folders(*folders)
    assert (scored.missing, scored.extra) == ((STEMS[0],), ("other",))
    assert tuple(scored.images) == STEMS[1:]
    assert json.loads(scored.to_json())["missing"] == [STEMS[0]]
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(table(scored))
    shown = " ".join(console.export_text().split())
    assert f"MAD │ {scored.mean['MAD']:.4f}" in shown
    assert f"1 without a prediction: {STEMS[0]} 1 without a truth: other" in shown


def stored_as(kind, matte):
    """`(suffix, picture, options)`: a matte as another tool may write it."""
    grey, picture = PIL.Image.fromarray(matte), PIL.Image.fromarray(255 - matte)
    opaque = PIL.Image.new("L", grey.size, 255)
    return {
        "grey": (".png", grey, {}),
        "threefold": (".png", PIL.Image.merge("RGB", [grey] * 3), {}),
        "opaque": (".png", PIL.Image.merge("RGBA", [grey] * 3 + [opaque]), {}),
        "white with alpha": (".png", PIL.Image.merge("LA", [opaque, grey]), {}),
        "16 bits": (".png", PIL.Image.fromarray(matte.astype(np.uint16) * 257), {}),
        "cut-out": (".png", PIL.Image.merge("RGBA", [picture] * 3 + [grey]), {}),
        "grey cut-out": (".PNG", PIL.Image.merge("LA", [picture, grey]), {}),
        "palette": (".png", grey.convert("P"), {}),
        "palette cut-out": (".png", grey.convert("P"), {"transparency": bytes(range(256))}),
        "webp cut-out": (".webp", PIL.Image.merge("RGBA", [picture] * 3 + [grey]), {"lossless": True}),
        "webp": (".webp", PIL.Image.merge("RGB", [grey] * 3), {"lossless": True}),
        "tiff": (".tif", grey, {}),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("grey", "threefold", "opaque", "cut-out", "grey cut-out", "palette", "palette cut-out"),
        *("white with alpha", "16 bits", "webp cut-out", "webp", "tiff"),
    ],
)
def test_other_tools_mattes_are_read(folders, kind):
    predicted, truth, _ = folders
    matte, alpha, _ = pixels_of(folders, STEMS[0])
    for path in predicted.iterdir():
        path.unlink()
    suffix, picture, options = stored_as(kind, matte)
    picture.save(predicted / f"{STEMS[0]}{suffix}", **options)
    assert score_folders(predicted, truth).images == {STEMS[0]: score_matte(matte, alpha)}


def test_one_bit_per_pixel_means_0_and_255(folders):
    predicted, truth, _ = folders
    _, alpha, _ = pixels_of(folders, STEMS[0])
    write(predicted / f"{STEMS[0]}.png", alpha >= 128)
    expected = score_matte(np.where(alpha >= 128, 255, 0).astype(np.uint8), alpha)
    assert score_folders(predicted, truth).images[STEMS[0]] == expected


def test_a_jpeg_matte_is_close_to_its_png(folders):
    predicted, truth, _ = folders
    before = score_folders(predicted, truth).images[STEMS[0]]
    matte = pixels_of(folders, STEMS[0])[0]
    (predicted / f"{STEMS[0]}.png").unlink()
    write(predicted / f"{STEMS[0]}.jpg", matte, quality=95)
    # JPEG at 95 is a few of 255 off.
    assert score_folders(predicted, truth).images[STEMS[0]]["MAD"] == pytest.approx(before["MAD"], abs=0.02)


def colour(path):
    write(path, np.random.default_rng(1).integers(0, 256, (62, 50, 3), np.uint8))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:200])


def shrink(path):
    write(path, np.zeros((3, 4), np.uint8))


DAMAGES = [
    (colour, ImageError, "it is in colour: red, green and blue differ"),
    (cut_short, ImageError, "."),
    (shrink, ScoreError, r"3×4, but .*p_00000002\.png is 62×50 \(height × width\)"),
]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("damage", "error", "message"), DAMAGES, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_bad_prediction_is_named_by_whichever_process(folders, damage, error, message, processes):
    path = folders[0] / f"{STEMS[2]}.png"
    damage(path)
    with pytest.raises(error, match=rf"^{re.escape(str(path))}: {message}"):
        score_folders(*folders, processes=processes)


def test_a_truncated_jpeg_is_refused_though_its_decoder_would_fill_it_with_grey(folders):
    path = folders[0] / f"{STEMS[0]}.jpg"
    write(path, np.random.default_rng(1).integers(0, 256, (60, 50), np.uint8))
    path.with_suffix(".png").unlink()
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ImageError, match=rf"^{re.escape(str(path))}: .*truncated"):
        score_folders(*folders)


def test_a_bad_trimap_is_named(folders):
    path = folders[2] / f"{STEMS[2]}.png"
    write(path, np.arange(62 * 50, dtype=np.uint8).reshape(62, 50))
    message = r"a trimap has 0, 128 and 255 only, this has 1, 2, 3, 4, 5 …"
    with pytest.raises(ImageError, match=rf"^{re.escape(str(path))}: {message}"):
        score_folders(*folders)
    shrink(path)
    with pytest.raises(ScoreError, match=rf"^{re.escape(str(path))}: 3×4, but"):
        score_folders(*folders)
    path.unlink()
    with pytest.raises(ScoreError, match=r"trimaps: 1 without a trimap: p_00000002$"):
        score_folders(*folders)


def test_folders_that_do_not_fit_together_are_refused(folders, tmp_path):
    predicted, truth, _ = folders
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        score_folders(tmp_path / "nowhere", truth)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        ScoreError, match=r"no matte in .*empty has the stem of a truth in .*\(0 and 5 pictures\)"
    ):
        score_folders(empty, truth)
    write(predicted / f"{STEMS[1]}.jpg", np.zeros((61, 50), np.uint8))
    with pytest.raises(
        ScoreError, match=r"predicted: p_00000001\.jpg and p_00000001\.png have the same stem"
    ):
        score_folders(predicted, truth)


def test_no_processes_are_refused(folders):
    with pytest.raises(ScoreError, match="processes must be 1 or more, not 0"):
        score_folders(*folders, processes=0)


def test_scoring_does_not_load_tensorflow():
    code = "import sys, training.evaluation.score; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
