"""Makes the animated picture of the README from the real page: python notebooks/explore_film.py.

Takes a training folder, by default that of a demo. A headless Chromium draws an amount on the page
of `gtnet explore`, hovers an arc, moves beta, and asks for a gradient; screenshots
of it become `pictures/explore.gif`. Needs chromium, chromedriver and the extra `test`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains

from gtnet.explore import application
from gtnet.explore.models import Model
from gtnet.explore.server import quiet

PICTURE = Path(__file__).parent / "pictures" / "explore.gif"
WIDE, TALL, SHOWN = 1180, 930, 860
# What the pen does, in pixels of the paper from its middle: 2 7 . 5 0
STROKES = (
    "-122,-20 -117,-30 -107,-35 -97,-31 -93,-20 -99,-5 -112,12 -124,26 -112,27 -92,25",
    "-70,-32 -55,-33 -38,-34 -44,-15 -52,8 -58,29",
    "-24,25 -21,26 -22,28",
    "38,-33 15,-33 12,-8 22,-11 34,-7 39,6 34,20 20,27 6,23",
    "80,-33 65,-23 59,-2 63,17 76,27 90,20 97,0 93,-20 80,-33 76,-33",
)


def smooth(stroke: str, pieces: int = 5) -> list[tuple[int, int]]:
    """A curve through some points (Catmull & Rom 1974)."""
    points = [[float(x) for x in point.split(",")] for point in stroke.split()]
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    parts = [
        (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        / 2
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:])
    ]
    curve = np.rint(np.concatenate([*parts, p[-1:]])).astype(int)
    return [(int(x), int(y)) for x, y in curve]


class Film:
    """A page in a browser, and what was seen of it: (picture, milliseconds)."""

    def __init__(self, address: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={WIDE},{TALL}",
        ):
            options.add_argument(argument)
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.browser = webdriver.Chrome(options=options, service=service)
        size = {"width": WIDE, "height": TALL, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.browser.get(address)
        self.until("document.body.dataset.ready")
        self.frames: list[tuple[Image.Image, int]] = []

    def until(self, told: str) -> None:
        ends = time.monotonic() + 120
        while not self.browser.execute_script(f"return Boolean({told})"):
            assert time.monotonic() < ends, told
            time.sleep(0.05)

    def shoot(self, milliseconds: int) -> None:
        picture = Image.open(io.BytesIO(self.browser.get_screenshot_as_png())).convert("RGB")
        size = (SHOWN, round(SHOWN * picture.height / picture.width))
        self.frames.append((picture.resize(size, Image.Resampling.LANCZOS), milliseconds))

    def answer(self, do: Callable[[], Any]) -> None:
        """Do something and wait for what the page says to it."""
        before = int(self.browser.execute_script("return document.body.dataset.answers ?? 0"))
        do()
        self.until(
            f"Number(document.body.dataset.answers) > {before} &&"
            " !document.body.classList.contains('busy')"
        )
        time.sleep(0.4)

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def write(self) -> None:
        """Draw the amount, stroke by stroke."""
        paper = self.find("#paper")
        for points in map(smooth, STROKES):
            chain = ActionChains(self.browser, duration=15)
            chain.move_to_element_with_offset(paper, *points[0]).click_and_hold()
            for (x0, y0), (x1, y1) in itertools.pairwise(points):
                chain.move_by_offset(x1 - x0, y1 - y0)
            self.answer(chain.release().perform)
            self.shoot(500)

    def slide(self, name: str, value: int) -> None:
        line = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.answer(lambda: self.browser.execute_script(line, self.find(name), value))

    def save(self, path: Path) -> None:
        """All frames in the same few colours, so that what stays takes no room."""
        strip = Image.new("RGB", (SHOWN, sum(f.height for f, _ in self.frames)))
        top = 0
        for frame, _ in self.frames:
            strip.paste(frame, (0, top))
            top += frame.height
        palette = strip.quantize(96, method=Image.Quantize.MEDIANCUT)
        first, *rest = (
            f.quantize(palette=palette, dither=Image.Dither.NONE) for f, _ in self.frames
        )
        times = [milliseconds for _, milliseconds in self.frames]
        first.save(path, save_all=True, append_images=rest, duration=times, loop=0, optimize=True)


def main() -> None:
    """Film the page of a reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", metavar="DIR", help="default: runs/demo or demo")
    folder = parser.parse_args().model
    known = [name for name in ("runs/demo", "demo") if Path(name).is_dir()]
    token = secrets.token_urlsafe(8)
    server = quiet(application(Model.load(folder or known[0]), token=token))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        film = Film(f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/")
        try:
            film.shoot(900)
            film.write()
            film.frames[-1] = (film.frames[-1][0], 1800)
            label = "#interpretation .edge.best .row"
            ActionChains(film.browser).move_to_element(film.find(label)).perform()
            time.sleep(0.5)
            film.shoot(1800)
            ActionChains(film.browser).move_to_element(film.find("#beta")).perform()
            for beta in (3, 1, 0):
                film.slide("#beta", beta)
                film.shoot(700)
            film.slide("#beta", 6)
            film.find("#truth").send_keys("27.50")
            film.find("#gradient").click()
            film.until("document.querySelector('#gradients .edge')")
            time.sleep(0.5)
            film.shoot(2600)
        finally:
            film.browser.quit()
            server.should_exit = True
            thread.join()
    film.save(PICTURE)
    print(f"{PICTURE}: {len(film.frames)} pictures, {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
