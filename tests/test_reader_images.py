"""Images as they come: cameras, scanners, deep pixels, pages, boxes, and what is not one line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from gtnet.reader.data import digits
from gtnet.reader.images import read_image, read_images
from gtnet.reader.ink import ink_of, unframed
from gtnet.reader.line import Line, line_of
from gtnet.reader.segment import Segmentation, segment

Observed = Segmentation | Line


@pytest.fixture(scope="module")
def amount() -> np.ndarray:
    return digits(split="test", size=1)[0][0]


def both(image: np.ndarray) -> list[Observed]:
    """What each front end sees of an image."""
    return [segment(image), line_of(image)]


def alike(one: Observed, other: Observed) -> bool:
    """Whether nearly the same is to be read: pieces, or ink within a column or a row."""
    if isinstance(one, Segmentation) and isinstance(other, Segmentation):
        return abs(one.num_cuts - other.num_cuts) <= 1
    assert isinstance(one, Line) and isinstance(other, Line)
    a, b = (np.flatnonzero(line.ink.max(axis=0) > 100) for line in (one, other))
    wide = [np.ptp(columns) for columns in (a, b)]
    return abs(wide[0] - wide[1]) <= 0.1 * wide[0]


# Files


def test_photographs_are_turned_as_the_camera_was_held(amount: np.ndarray, tmp_path: Path) -> None:
    for orientation, turn in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(amount).transpose(turn).save(path, exif=exif)
        assert np.array_equal(read_image(path), amount)


def test_light_on_dark_is_inverted(amount: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(255 - amount).save(tmp_path / "negative.png")
    Image.fromarray(amount).save(tmp_path / "positive.png")
    for name in ("negative", "positive"):
        assert np.array_equal(read_image(tmp_path / f"{name}.png"), amount)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16, 31])
def test_deep_integers_keep_their_range(bits: int, tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
    deep = (grey.astype(np.int64) << (bits - 8)) + ((1 << (bits - 8)) - 1)
    kind = np.int32 if bits in (8, 31) else np.uint16
    Image.fromarray(deep.astype(kind)).save(tmp_path / "deep.tif")
    assert np.array_equal(read_image(tmp_path / "deep.tif"), grey)


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 17.0])
def test_floats_of_any_scale(scale: float, amount: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(amount.astype(np.float32) * scale).save(tmp_path / "float.tif")
    found = read_image(tmp_path / "float.tif").astype(float)
    assert np.corrcoef(found.ravel(), amount.ravel().astype(float))[0, 1] > 0.999
    assert np.abs(found - amount).max() <= 1 or (scale > 1 and np.ptp(found) == 255)
    broken = np.full((4, 4), np.nan, np.float32)
    Image.fromarray(broken).save(tmp_path / "nan.tif")
    with pytest.raises(ValueError, match=r"nan\.tif: it has pixels that are no finite numbers"):
        read_image(tmp_path / "nan.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
def test_every_mode_gives_grey_pixels_one_may_write_to(
    mode: str, amount: np.ndarray, tmp_path: Path
) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(amount).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(
        tmp_path / f"a.{suffix}"
    )
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.dtype == np.uint8 and image.shape == amount.shape
    image[0, 0] = 7


def test_pages_of_a_tiff_are_items(amount: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    pages = [Image.fromarray(np.roll(amount, n, axis=1)) for n in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    found = dict(read_images(path))
    assert list(found) == [f"{path}#{n}" for n in (1, 2, 3)]
    assert all(np.array_equal(a, b) for a, b in zip(found.values(), map(np.asarray, pages)))
    assert np.array_equal(read_image(f"{path}#2"), pages[1])
    with pytest.raises(ValueError, match=r"holds 3 pages; name one, such as .*scan\.tif#1"):
        read_image(path)
    with pytest.raises(ValueError, match="there is no page 4"):
        read_image(f"{path}#4")
    pages[0].save(path)
    assert list(dict(read_images(path))) == [str(path)]


def test_a_name_with_a_number_sign_is_a_name(amount: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(amount).save(tmp_path / "scan#2.png")
    assert np.array_equal(read_image(tmp_path / "scan#2.png"), amount)


def test_pages_of_a_pdf_are_items(amount: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2", reason="pypdfium2 is missing")
    path = tmp_path / "letter.pdf"
    pages = [Image.fromarray(np.roll(amount, n, axis=1)) for n in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:], resolution=200)
    found = list(read_images(path))
    assert [name for name, _ in found] == [f"{path}#1", f"{path}#2"]
    for (_, image), page in zip(found, pages, strict=True):
        assert np.abs(np.subtract(image.shape, amount.shape)).max() <= 1  # points are no pixels
        image = image[: amount.shape[0], : amount.shape[1]]
        assert np.abs(image.astype(int) - np.asarray(page)).mean() < 12
    (tmp_path / "broken.pdf").write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cannot read an image from .*broken\.pdf"):
        read_image(tmp_path / "broken.pdf")


def test_a_pdf_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7 and so on")
    with pytest.raises(ValueError, match=r"letter\.pdf: .*pip install 'gtnet-wfst\[pdf\]'"):
        read_image(tmp_path / "letter.pdf")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_a_cut_file_is_one_error_that_names_it(
    suffix: str, amount: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / f"whole.{suffix}"
    Image.fromarray(amount).save(path)
    data = path.read_bytes()
    for share in (0.0, 0.02, 0.3, 0.7):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=f"read_image: cannot read an image from {cut}"):
            read_image(cut)


def test_bombs_are_refused_without_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"large\.png.*exceeds limit"):
            read_image(tmp_path / "large.png")


# Lines


def test_one_line_is_all_clear(amount: np.ndarray) -> None:
    assert [seen.clear for seen in both(amount)] == [1.0, 1.0]


def test_a_small_amount_on_a_large_page_is_found(amount: np.ndarray) -> None:
    height, width = amount.shape
    page = np.full((1100, 800), int(np.median(amount)), np.uint8)
    page[600 : 600 + height, 300 : 300 + width] = amount
    for alone, found in zip(both(amount), both(page), strict=True):
        assert alike(alone, found) and found.clear == 1
        if isinstance(found, Segmentation):
            x0, y0, x1, y1 = (*found.boxes[:, :2].min(axis=0), *found.boxes[:, 2:].max(axis=0))
            assert found.pieces.shape == page.shape
        else:
            x0, y0, x1, y1 = found.box
            assert y1 - y0 < 2 * height
        assert 290 <= x0 < x1 <= 310 + width + 30 and 595 <= y0 < y1 <= 605 + height


def test_what_the_line_does_not_explain_lowers_confidence(amount: np.ndarray) -> None:
    two_lines = np.vstack([amount, amount])
    page = np.full((900, 700), int(np.median(amount)), np.uint8)
    for top, left in ((100, 80), (500, 300)):
        page[top : top + amount.shape[0], left : left + amount.shape[1]] = amount
    scrap = np.asarray(Image.fromarray(amount).resize((20, 8)))
    for image in (two_lines, page, scrap):
        assert all(seen.clear < 0.35 for seen in both(image))


def boxed(amount: np.ndarray, sides: bool = True) -> np.ndarray:
    height, width = amount.shape
    image = np.full((height + 24, width + 30), int(np.median(amount)), np.uint8)
    image[12:-12, 15:-15] = amount
    image[4:6, 4:-4] = image[-6:-4, 4:-4] = 40
    if sides:
        image[4:-4, 4:6] = image[4:-4, -6:-4] = 40
    return image


def test_a_printed_box_is_left_out(amount: np.ndarray) -> None:
    for alone, found in zip(both(amount), both(boxed(amount)), strict=True):
        assert alike(alone, found) and found.clear == 1
    ink = unframed(ink_of(boxed(amount)))
    assert not ink[:8].any() and not ink[:, :8].any() and not ink[:, -8:].any()


def test_digits_that_touch_two_rules_are_no_sides_of_a_box() -> None:
    image = np.full((60, 160), 230, np.uint8)
    image[[4, 5, 52, 53]] = 60  # rules from edge to edge
    image[4:54, 14:17] = 40  # a one
    image[4:54, 140:143] = 40  # the stem of a seven
    image[5:8, 120:140] = 40
    ink = ink_of(image)
    assert unframed(ink) is ink


def test_writing_alone_is_no_box(amount: np.ndarray) -> None:
    image = np.full((40, 90), 235, np.uint8)
    for left in (5, 40, 80):
        image[2:38, left : left + 4] = 30  # three strokes as high as the image
    for other in (image, amount, boxed(amount, sides=False)):
        ink = ink_of(other)
        assert unframed(ink) is ink


@pytest.mark.parametrize("pen", [1, 2, 3])
@pytest.mark.parametrize("scale", [30, 60, 100])
def test_the_dot_of_a_thin_pen_stays(pen: int, scale: int) -> None:
    def drawn(dot: int) -> Segmentation:
        image = Image.new("L", (3 * scale, int(1.4 * scale)), 235)
        pencil = ImageDraw.Draw(image)
        top, foot = int(0.2 * scale), int(1.2 * scale)
        for x in (int(0.4 * scale), int(1.6 * scale)):
            pencil.line([x, top, x + scale // 3, top], fill=40, width=pen)
            pencil.line([x + scale // 3, top, x, foot], fill=40, width=pen)
        if dot:
            x = int(1.2 * scale)
            pencil.rectangle([x, foot - dot + 1, x + dot - 1, foot], fill=40)
        return segment(np.asarray(image))

    assert drawn(pen + 1).num_cuts == drawn(0).num_cuts + 1


def test_printed_amounts_of_many_sizes_are_clear() -> None:
    for size in (16, 24, 48, 90):
        font = ImageFont.load_default(size)
        image = Image.new("L", (8 * size, 2 * size), 240)
        ImageDraw.Draw(image).text((size // 2, size // 3), "$1,234.50", font=font, fill=20)
        assert all(seen.clear > 0.99 for seen in both(np.asarray(image))), size
