"""`python -m benchmarks.made_voices --out voices.npz`: spoken digits of synthetic voices.

Four people are few voices to learn digits from. What speech synthesizers are installed say the
digits too: voices built from recordings of one person each (flite, festival, RHVoice, SVOX Pico,
MBROLA), several of whom speak another language and so have its accent, and voices that a formula
makes (espeak-ng). Of Debian's packages, the last three lines are in its non-free part:

    apt-get install flite festival festvox-kdlpc16k festvox-us-slt-hts espeak-ng
    apt-get install rhvoice rhvoice-english libttspico-utils mbrola mbrola-en1 mbrola-us1 mbrola-us2
    apt-get install mbrola-us3 mbrola-{af1,nl2,fr1,fr4,de1,de2,de3,de4,de5,de6,gr2,hu1,pl1,ro1,sw1}
    apt-get install mbrola-sw2

The file has the format of fsdd.npz.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import gcd
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly
from tqdm import tqdm

RATE = 8000
FORMULA = "espeak-"
"""How the names of voices begin that no person's recordings were made into."""
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPELLED = {
    "de": ["siero", "wann", "tuh", "ßrie", "foor", "feif", "sicks", "sewwen", "äit", "nein"],
    "fr-fr": ["ziro", "ouane", "tou", "sri", "for", "faïve", "sixe", "sévène", "éïte", "naïne"],
    "fr-be": ["ziro", "ouane", "tou", "sri", "for", "faïve", "sixe", "sévène", "éïte", "naïne"],
    "el": ["ζίρο", "ουάν", "του", "θρι", "φορ", "φάιβ", "σιξ", "σέβεν", "έιτ", "νάιν"],
    "nl": ["ziero", "wan", "toe", "srie", "for", "faif", "siks", "seven", "eet", "nain"],
}
"""English digits as readers of these languages would have to see them to say them so."""
SPEAKERS = ("awb", "kal16", "rms", "slt")
ENGLISH = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc")
THROATS = ("m1", "m3", "m4", "m7", "f1", "f3", "f5", "Andy", "Denis", "Michael", "linda", "steph")
"""Variants of espeak-ng that change pitch and formants."""
SPOKEN = ("alan", "bdl", "clb", "evgeniy-eng", "lyubov", "slt")
"""Voices of RHVoice that speak English."""
DIPHONES = (
    "en1",
    "us1",
    "us2",
    "us3",
    *(
        f"{database}-en"
        for database in (
            "af1",
            "nl2",
            "fr1",
            "fr4",
            "de1",
            "de2",
            "de3",
            "de4",
            "de5",
            "de6",
            "gr2",
            "hu1",
            "pl1",
            "ro1",
            "sw1",
            "sw2",
        )
    ),
)
"""Databases of MBROLA, and how espeak-ng has them speak English."""


@dataclass(frozen=True)
class Said:
    """One way a voice says a digit: `speed` and `pitch` are factors; the sound comes as a WAV."""

    speaker: str
    digit: int
    say: Callable[[], bytes]


def flite(voice: str, word: str, speed: float, pitch: float) -> bytes:
    base = {"awb": 140, "kal16": 95, "rms": 105, "slt": 175}[voice]
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        settings = [f"duration_stretch={1 / speed}", f"int_f0_target_mean={base * pitch:.0f}"]
        options = [part for setting in settings for part in ("--setf", setting)]
        subprocess.run(["flite", "-voice", voice, *options, "-t", word, file.name], check=True)
        return Path(file.name).read_bytes()


def festival(voice: str, word: str, speed: float, pitch: float) -> bytes:
    settings = f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {1 / speed}))"
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["text2wave", "-eval", settings, "-F", str(round(16000 * pitch)), "-o", file.name]
        subprocess.run(command, input=word.encode(), check=True, capture_output=True)
        return Path(file.name).read_bytes()


def espeak(voice: str, word: str, speed: float, pitch: float) -> bytes:
    command = ["espeak-ng", "-v", voice, "-s", f"{140 * speed:.0f}", "-p", f"{50 * pitch:.0f}"]
    return subprocess.run([*command, "--stdout", word], check=True, capture_output=True).stdout


def rhvoice(voice: str, word: str, speed: float, pitch: float) -> bytes:
    settings = ["-p", voice, "-r", f"{100 * speed:.0f}", "-t", f"{100 * pitch:.0f}"]
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["RHVoice-test", *settings, "-o", file.name]
        subprocess.run(command, input=word.encode(), check=True, capture_output=True)
        return Path(file.name).read_bytes()


def pico(language: str, word: str, speed: float, pitch: float) -> bytes:
    marked = (
        f'<speed level="{100 * speed:.0f}"><pitch level="{100 * pitch:.0f}">{word}</pitch></speed>'
    )
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["pico2wave", "-l", language, "-w", file.name, marked], check=True)
        return Path(file.name).read_bytes()


def voices(rng: np.random.Generator) -> Iterator[Said]:
    """Every voice that is installed, each digit several times, faster or slower."""

    def several(speaker: str, say: Callable[..., bytes], words: list[str], count: int):
        for digit, word in enumerate(words):
            for _ in range(count):
                speed, pitch = np.exp(rng.normal(0, 0.15)), np.exp(rng.normal(0, 0.12))
                yield Said(speaker, digit, partial(say, word=word, speed=speed, pitch=pitch))

    if shutil.which("flite"):
        for voice in SPEAKERS:
            yield from several(f"flite-{voice}", partial(flite, voice), DIGITS, 12)
    if shutil.which("text2wave"):
        found = {path.name for path in Path("/usr/share/festival/voices").glob("*/*")}
        for voice in sorted(found & {"ked_diphone", "cmu_us_slt_arctic_hts"}):
            yield from several(f"festival-{voice}", partial(festival, voice), DIGITS, 8)
    if shutil.which("RHVoice-test"):
        found = {path.name for path in Path("/usr/share/RHVoice/voices").glob("*")}
        for voice in sorted(found & set(SPOKEN)):
            yield from several(f"rhvoice-{voice}", partial(rhvoice, voice), DIGITS, 8)
    if shutil.which("pico2wave"):
        for language in ("en-US", "en-GB"):
            yield from several(f"pico-{language}", partial(pico, language), DIGITS, 8)
        for language, words in (("de-DE", SPELLED["de"]), ("fr-FR", SPELLED["fr-fr"])):
            yield from several(f"pico-{language}", partial(pico, language), words, 4)
    if shutil.which("espeak-ng") and shutil.which("mbrola"):
        for name in DIPHONES:
            if Path("/usr/share/mbrola", name.removesuffix("-en")).exists():
                yield from several(f"mbrola-{name}", partial(espeak, f"mb-{name}"), DIGITS, 8)
    if shutil.which("espeak-ng"):
        for number, throat in enumerate(THROATS):
            for voice in (ENGLISH[number % 6], ENGLISH[(number + 1) % 6]):
                name = f"{voice}+{throat}"
                yield from several(f"{FORMULA}{name}", partial(espeak, name), DIGITS, 2)
            for language, words in SPELLED.items():
                name = f"{language}+{throat}"
                yield from several(f"{FORMULA}{name}", partial(espeak, name), words, 1)


def heard(data: bytes) -> np.ndarray:
    """The samples of a WAV at `RATE`, int16, without the quiet at both ends."""
    with wave.open(io.BytesIO(data)) as file:
        rate = file.getframerate()
        # A WAV that was streamed does not know its length: what is there is read.
        samples = np.frombuffer(file.readframes(len(data)), np.int16).astype(np.float64)
    common = gcd(rate, RATE)
    samples = resample_poly(samples, RATE // common, rate // common)
    step = RATE // 100
    loud = np.array([np.abs(part).max() for part in np.array_split(samples, len(samples) // step)])
    (over,) = np.nonzero(loud > 0.03 * loud.max())
    kept = samples[over[0] * step : (over[-1] + 2) * step]
    return np.round(kept * (8000 / np.abs(kept).max())).astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.made_voices", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/voices.npz"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    said = list(voices(np.random.default_rng(given.seed)))
    if not said:
        raise SystemExit("no speech synthesizer found: apt-get install flite festival espeak-ng")
    recordings = [heard(one.say()) for one in tqdm(said, unit="digit")]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        given.out,
        samples=np.concatenate(recordings),
        offsets=np.cumsum([0, *map(len, recordings)]),
        labels=np.array([one.digit for one in said], np.uint8),
        speaker=np.array([one.speaker for one in said]),
        rate=RATE,
    )
    print(f"{given.out}: {len(said)} digits of {len({one.speaker for one in said})} voices")


if __name__ == "__main__":
    main()
