"""Over-segmentation: the graph's shape, the right cuts among the candidates, and odd images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image
from real_data import DATA, needs_car_a

from gtnet.reader.data import CarA, digits
from gtnet.reader.ink import ink_of
from gtnet.reader.segment import (
    GEOMETRY,
    Segmentation,
    SegmentConfig,
    geometry_of,
    normalize_character,
    segment,
)

Box = tuple[int, int, int, int]


def paper(height: int = 50, width: int = 120) -> np.ndarray:
    return np.full((height, width), 225, np.uint8)


def ring(image: np.ndarray, x: int, y: int = 10, height: int = 30, width: int = 20) -> Box:
    """Draws a nought with a stroke of four pixels."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    across, down = (columns - x - width / 2) / width, (rows - y - height / 2) / height
    inner = ((columns - x - width / 2) / (width - 8)) ** 2 + (
        (rows - y - height / 2) / (height - 8)
    ) ** 2
    image[(across**2 + down**2 <= 0.25) & (inner >= 0.25)] = 40
    return x, y, x + width, y + height


def matches(segmentation: Segmentation, boxes: Iterable[Box]) -> np.ndarray:
    """bool [segments, boxes]: which segments cover which boxes, up to some pixels."""
    found = segmentation.boxes[:, None, :].astype(float)
    wanted = np.array(list(boxes), float)[None]
    low, high = np.minimum(found, wanted), np.maximum(found, wanted)
    overlap = (low[..., 2:] - high[..., :2]) / (high[..., 2:] - low[..., :2])
    close = np.maximum(abs(found - wanted)[..., :2], abs(found - wanted)[..., 2:]) <= 4
    small = (wanted[..., 2:] - wanted[..., :2]) <= 9
    good = (overlap > np.array([0.6, 0.5])) | (close & small)
    return good.all(axis=2)


def has_path(segmentation: Segmentation, boxes: list[Box], *, skipping: bool = False) -> bool:
    """Whether some path has exactly these boxes as segments; skipping allows others between."""
    good = matches(segmentation, boxes)
    reached = np.zeros((segmentation.num_cuts, len(boxes) + 1), bool)
    reached[0, 0] = True
    for i in np.argsort(segmentation.source, kind="stable"):
        before, after = reached[segmentation.source[i]], reached[segmentation.target[i]]
        after[1:] |= before[:-1] & good[i]
        after |= before & skipping
    return bool(reached[-1, -1])


def check_shape(segmentation: Segmentation, config: SegmentConfig | None = None) -> None:
    """What holds for every segmentation."""
    config = config or SegmentConfig()
    n, cuts = len(segmentation), segmentation.num_cuts
    assert segmentation.images.shape == (n, config.size, config.size)
    assert segmentation.images.dtype == segmentation.geometry.dtype == np.float32
    assert segmentation.geometry.shape == (n, len(GEOMETRY))
    assert np.isfinite(segmentation.geometry).all()
    assert segmentation.boxes.shape == (n, 4) and segmentation.cuts.shape == (cuts, 2, 2)
    assert n <= config.max_segments
    source, target = segmentation.source, segmentation.target
    assert (source < target).all() and (target - source <= config.max_pieces).all()
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == n
    assert set(source[target == source + 1].tolist()) == set(range(cuts - 1))
    assert segmentation.pieces.max(initial=-1) == cuts - 2
    if n:
        assert segmentation.images.min() >= 0 and segmentation.images.max() <= 1
        assert (segmentation.images.max(axis=(1, 2)) > 0.3).all()
        x0, y0, x1, y1 = segmentation.boxes.T
        height, width = segmentation.pieces.shape
        assert (x0 >= 0).all() and (x0 < x1).all() and (x1 <= width).all()
        assert (y0 >= 0).all() and (y0 < y1).all() and (y1 <= height).all()


def test_separate_characters():
    image = paper()
    boxes = [ring(image, 10), ring(image, 40), ring(image, 75)]
    found = segment(image)
    check_shape(found)
    assert has_path(found, boxes)
    assert found.line == (10.0, 40.0)


def test_touching_characters_are_cut():
    image = paper()
    boxes = [ring(image, 10), ring(image, 28), ring(image, 47)]
    assert has_path(segment(image), boxes)


def test_slanted_characters_whose_columns_overlap():
    image = paper(60, 90)
    for row in range(10, 50):
        left = 40 - row // 2
        image[row, left : left + 4] = image[row, left + 12 : left + 16] = 40
    found = segment(image)
    assert found.num_cuts == 3 and len(found) == 3
    assert found.boxes[0, 2] > found.boxes[2, 0]


def test_broken_character_is_one_segment_of_two_pieces():
    image = paper()
    image[10:14, 20:40] = image[18:40, 20:25] = 40
    found = segment(image)
    assert has_path(found, [(20, 10, 40, 40)])


def test_marks_differ_in_geometry():
    image = paper()
    ring(image, 10)
    image[36:40, 40:44] = image[36:46, 55:58] = image[24:27, 70:82] = 30
    found = segment(image)
    boxes = [(40, 36, 44, 40), (55, 36, 58, 46), (70, 24, 82, 27)]
    dot, comma, dash = found.geometry[np.argmax(matches(found, boxes), axis=0)]
    top, bottom, height, aspect = (GEOMETRY.index(k) for k in ("top", "bottom", "height", "aspect"))
    assert comma[bottom] > dot[bottom] > dash[bottom]
    assert dash[aspect] > dot[aspect] > comma[aspect]
    assert max(dot[height], dash[height]) < 0.3 < dash[top] < dot[top]


@pytest.mark.parametrize(
    "image",
    [
        paper(),
        np.zeros((40, 200), np.uint8),
        np.full((40, 200), 255, np.uint8),
        np.random.default_rng(0).normal(210, 6, (50, 150)).astype(np.uint8),
        np.full((1, 1), 7, np.uint8),
        np.full((2, 300), 7, np.uint8),
    ],
    ids=["paper", "black", "white", "grain", "pixel", "strip"],
)
def test_nothing_written(image):
    found = segment(image)
    check_shape(found)
    assert len(found) == 0 and found.num_cuts == 1
    picture, geometry = normalize_character(image)
    assert not picture.any() and not geometry.any()


def test_printed_rule_is_not_ink():
    image = paper()
    box = ring(image, 40)
    image[44:46] = 90
    found = segment(image)
    assert has_path(found, [box])
    assert (found.boxes[:, 3] <= 42).all()


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        noise(0, 50, 300),
        np.kron(noise(1, 10, 60), np.ones((5, 5), np.uint8)),
        np.pad(np.zeros((40, 900), np.uint8), 10, constant_values=230),
        np.tile(noise(2, 60, 50) // 2 + np.uint8(60), (1, 60)),
        np.kron(noise(3, 30, 40), np.ones((25, 25), np.uint8)),
    ],
    ids=["noise", "blots", "bar", "wide", "large"],
)
def test_dark_and_wide_images_stay_bounded(image):
    check_shape(segment(image))
    config = SegmentConfig(max_segments=40)
    check_shape(segment(image, config), config)


def test_large_image_is_cut_like_a_small_one():
    image = paper()
    boxes = [ring(image, 10), ring(image, 28)]
    large = np.kron(image, np.ones((6, 6), np.uint8))
    found = segment(large)
    check_shape(found)
    assert found.pieces.shape == large.shape
    assert has_path(found, [tuple(6 * side for side in box) for box in boxes])


@pytest.mark.parametrize("function", [segment, normalize_character])
def test_rejects_what_is_no_grey_image(function):
    name = function.__name__
    with pytest.raises(TypeError, match=f"{name}: image must be a uint8 array, it is float64"):
        function(np.zeros((4, 4)))
    with pytest.raises(TypeError, match=f"{name}: image must be a uint8 array, it is list"):
        function([[0]])
    with pytest.raises(ValueError, match=rf"{name}: image must be grey.* shape is \(4, 4, 3\)"):
        function(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"at least one pixel.* shape is \(0, 9\)"):
        function(np.zeros((0, 9), np.uint8))


def test_line_must_have_height():
    with pytest.raises(ValueError, match=r"line \(9, 2\) must have its top above its bottom"):
        normalize_character(paper(), (9, 2))


def test_isolated_character_looks_like_its_segment():
    image = paper()
    ring(image, 10)
    box = ring(image, 60, y=20, height=20, width=14)
    ring(image, 90)
    found = segment(image)
    i = int(np.argmin(np.abs(found.boxes - np.array(box)).sum(axis=1)))
    crop = image[5:45, 54:80]
    picture, geometry = normalize_character(crop, (5.0, 35.0))
    assert np.abs(picture - found.images[i]).max() < 0.2
    assert np.allclose(geometry, found.geometry[i], atol=1e-4)
    alone, itself = normalize_character(crop)
    assert itself[GEOMETRY.index("height")] == 1 and np.array_equal(alone, picture)


def test_geometry_is_relative_to_the_line():
    boxes, ink = np.array([[0, 10, 10, 30], [5, 28, 9, 32]]), np.array([50.0, 16.0])
    once = geometry_of(boxes, ink, (10.0, 30.0))
    twice = geometry_of(2 * boxes, 4 * ink, (20.0, 60.0))
    assert np.allclose(once, twice)


def test_faint_and_uneven_ink():
    image = paper().astype(float)
    box = ring(sharp := paper(), 40)
    image = 120 + (sharp.astype(float) - 120) * 0.35 + np.linspace(0, 60, 120)
    grey = image.astype(np.uint8)
    assert has_path(segment(grey), [box])
    assert 0.9 < ink_of(grey)[10:40, 40:60].max() <= 1


@pytest.mark.parametrize("edge", [0.3, 0.8])
@pytest.mark.parametrize("upright", [False, True])
def test_paper_of_two_shades_is_no_ink(edge, upright):
    """A printed band or a shadow with an edge, which strokes cross."""
    image = paper()
    boxes = [ring(image, 20), ring(image, 70)]
    shade = np.zeros(image.shape, bool)
    if upright:
        shade[:, int(edge * 120) :] = True
    else:
        shade[: int(edge * 50)] = True
    image = np.where(shade, 0.7 * image, image).astype(np.uint8)
    ink = ink_of(image)
    drawn = np.zeros(image.shape, bool)
    for x0, y0, x1, y1 in boxes:
        drawn[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = True
    assert ink[~drawn].max() < 0.35
    for x0, y0, x1, y1 in boxes:
        middle = (y0 + y1) // 2, (x0 + x1) // 2
        assert min(ink[middle[0], x0 + 1], ink[y0 + 1, middle[1]]) > 0.6
        assert ink[middle] < 0.2
    assert has_path(segment(image), boxes)


def test_graph_has_an_arc_for_every_segment():
    gtnet = pytest.importorskip("gtnet")
    image = paper()
    ring(image, 10), ring(image, 28)
    found = segment(image)
    graph = found.graph()
    assert isinstance(graph, gtnet.Graph)
    assert graph.ilabels.tolist() == list(range(len(found)))
    assert graph.num_states == found.num_cuts and graph.source.tolist() == found.source.tolist()
    empty = segment(paper()).graph()
    assert (empty.num_states, empty.num_arcs) == (1, 0)


def test_same_image_same_segmentation():
    image, _ = digits(size=1)[0]
    first, second = segment(image), segment(image.copy())
    for name in ("images", "geometry", "boxes", "source", "target", "pieces", "cuts"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_oracle_on_synthesised_amounts():
    data = digits(size=60, split="valid", seed=5)
    found = [segment(data[i][0]) for i in range(len(data))]
    for segmentation in found:
        check_shape(segmentation)
    boxes = [[box for _, box in data.layout(i)] for i in range(len(data))]
    right = sum(has_path(f, b) for f, b in zip(found, boxes, strict=True))
    assert right >= 0.93 * len(data)
    assert np.mean([len(f) for f in found]) < 80


@needs_car_a
def test_oracle_on_bank_checks():
    data = CarA(DATA / "car_a", folds=(1,))
    right = 0
    for i in range(0, len(data), 4):
        found = segment(data[i][0])
        check_shape(found)
        right += has_path(found, [box for _, box in data.layout(i)], skipping=True)
    assert right >= 0.93 * len(range(0, len(data), 4))


def test_photograph_of_a_line(tmp_path):
    image = paper()
    box = ring(image, 40)
    Image.fromarray(image).save(tmp_path / "line.jpg", quality=60)
    found = segment(np.asarray(Image.open(tmp_path / "line.jpg")))
    assert has_path(found, [box])
