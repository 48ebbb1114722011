"""How well the mark `unfamiliar` tells pictures of other things from held-out ones, beside other rules.

    python -m benchmarks.familiarity --project DIR --data DIR [--model models/adapted/0]

``--project`` is a project that ran, ``--data`` the folder of test data. Known are the train splits of source and
target; to be told from them are emoji of two vendors, CIFAR-10 and noise, framed as the target is. Familiar are the
test splits. For each rule and set: the area under the ROC curve against all familiar images, and the share that
is marked when 5% of the familiar ones of each domain are, at most. The other rules know the target's images too, so
``product`` is at a disadvantage where the model was not adapted. The rules:

- ``product``: what the stages keep, with their own threshold
- ``mahalanobis``: the same without the square roots
- ``neighbour``: the distance to the fifth nearest of the known images, features scaled to length 1 (Sun 2022)
- ``confidence``: one less the probability of the most probable class of the first label (Hendrycks 2017)

The rule of the product was chosen by looking at such figures, which are thus no measurement on unseen sets.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.data.images import decode, frame
from pipeline_lib.data.roles import Role, read_roles
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import features
from pipeline_lib.heads.familiarity import FALSE_ALARMS
from pipeline_lib.use.model import Usable, load_usable

OTHERS = {"emoji": "emoji/openmoji_color", "emoji_3d": "emoji/fluent3d", "photographs": "cifar10/test"}
NUM_OTHERS, NUM_FAMILIAR, BATCH_SIZE = 600, 1000, 256
CPU = torch.device("cpu")
Rule = Callable[[Tensor], Tensor]


def rules(usable: Usable, known_MD: Tensor) -> dict[str, Rule]:
    """Return the rules: features ``[B, D]`` to how strange they are, ``[B]``."""
    assert usable.familiarity is not None
    mean_D = known_MD.double().mean(dim=0)
    values_K, vectors_KD = torch.linalg.svd(known_MD.double() - mean_D, full_matrices=False)[1:]
    kept = int((values_K.square().cumsum(0) < 0.999 * values_K.square().sum()).sum()) + 1
    directions_DK = vectors_KD[:kept].T / values_K[:kept] * len(known_MD) ** 0.5
    unit_MD = F.normalize(known_MD)
    label = next(iter(usable.model.specs))

    def confidence(x_BD: Tensor) -> Tensor:
        with torch.no_grad():
            return 1 - usable.model.head(label)(x_BD).softmax(dim=1).amax(dim=1)

    return {
        "product": usable.familiarity.distances,
        "mahalanobis": lambda x_BD: ((x_BD.double() - mean_D) @ directions_DK).norm(dim=1),
        "neighbour": lambda x_BD: torch.cdist(F.normalize(x_BD), unit_MD).kthvalue(5, dim=1).values,
        "confidence": confidence,
    }


def judge(rule: Rule, familiar: list[Tensor], other: Tensor) -> dict[str, float]:
    """Return the area under the curve, and the share of ``other`` that is marked."""
    known, strange = [rule(x) for x in familiar], rule(other)
    threshold = max(float(torch.quantile(x.double(), 1 - FALSE_ALARMS)) for x in known)
    scores = torch.cat([*known, strange])
    truth = np.arange(len(scores)) >= sum(map(len, known))
    marked = float((strange > threshold).float().mean())
    return {"auroc": round(float(roc_auc_score(truth, scores)), 3), "marked": round(marked, 2)}


def others(data: Path, usable: Usable) -> Mapping[str, np.ndarray]:
    """Return pictures of other things, framed, uint8 ``[N, H, W, C]``."""
    found = {}
    for name, file in OTHERS.items():
        table = pd.read_parquet(data / f"{file}.parquet").sample(NUM_OTHERS, random_state=1)
        found[name] = np.stack([frame(decode(cell["bytes"]), **usable.framing) for cell in table["image"]])
    size, channels = usable.framing["size"], usable.framing["channels"]
    noise = np.random.default_rng(0).integers(0, 256, (NUM_OTHERS, size, size, channels), np.uint8)
    return {**found, "noise": noise}


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/adapted/0"))
    arguments = parser.parse_args()
    usable = load_usable(arguments.project / arguments.model)
    encoder, target = usable.model.encoder.eval(), usable.config["target"]
    source = [name for name in usable.config["framing"] if name not in target]
    roles = read_roles(arguments.project / "datasets", source, target)

    def of_role(role: Role, split: str) -> Tensor:
        rows = np.random.default_rng(0).permutation(role.rows(split))[: NUM_FAMILIAR * (1 + (split == "train"))]
        return torch.from_numpy(features(encoder, Rows(role.images, rows), CPU, BATCH_SIZE))

    def of_images(images_NHWC: np.ndarray) -> Tensor:
        images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
        starts = range(0, len(images_NCHW), BATCH_SIZE)
        with torch.no_grad():
            return torch.cat([encoder(encoder.normalise(images_NCHW[at : at + BATCH_SIZE])) for at in starts])

    known, familiar = (torch.cat([of_role(role, "train") for role in roles]), [of_role(role, "test") for role in roles])
    strange = {name: of_images(images) for name, images in others(arguments.data, usable).items()}
    result = {}
    for name, rule in rules(usable, known).items():
        result[name] = {other: judge(rule, familiar, x) for other, x in strange.items()}
        print(f"{name}: {result[name]}", file=sys.stderr)
    assert usable.familiarity is not None
    marked = [usable.familiarity.distances(x) > usable.familiarity.threshold for x in familiar]
    shares = {name: round(float(x.float().mean()), 3) for name, x in zip(("source", "target"), marked, strict=True)}
    print(json.dumps({**result, "marked_in_error": shares}))


if __name__ == "__main__":
    main()
