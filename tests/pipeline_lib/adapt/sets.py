"""A model, and two domains whose images differ in brightness and contrast."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.training import Batches

SIZE = 16
CLASSES = ["a", "b", "c"]
CONFIG = {"encoder": "small_cnn", "channels": 1, "size": SIZE, "mean": [0.25], "std": [0.25]}
WITH_CLASSES = [name for name, kind in KINDS.items() if kind.has_classes]


def spec(kind: str) -> dict[str, Any]:
    classes = CLASSES[:2] if kind == "binary" else CLASSES
    return KINDS[kind].describe(np.array(classes * 2, dtype=object))


def make_model(kind: str = "multiclass", seed: int = 0, **config: Any) -> MultiTask:
    specs = {"size.px": KINDS["regression"].describe(np.array([1.0, 2.0])), "shape": spec(kind)}
    torch.manual_seed(seed)
    encoder = from_config({**CONFIG, **config}, seed)
    return MultiTask(encoder, specs)


def squares(num: int, seed: int, shifted: bool = False, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images uint8 ``[N, S, S, 1]`` with a light square at the place of their class, and the classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (num, SIZE, SIZE, 1), dtype=np.uint8)
    numbers = rng.permutation(np.arange(num) % num_classes)
    for image, number in zip(images, numbers, strict=True):
        image[5 * number : 5 * number + 5, 5 * number : 5 * number + 5] += 120
    return ((images * 0.2 + 200).astype(np.uint8) if shifted else images), numbers


def to_tensor(images_NHWC: np.ndarray) -> Tensor:
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()


def make_source(num: int = 96, kind: str = "multiclass") -> Batches:
    images, numbers = squares(num, seed=1, num_classes=len(spec(kind)["classes"]))
    values = {"size.px": np.full(num, None, dtype=object), "shape": np.array(CLASSES, dtype=object)[numbers]}
    columns = label_columns(make_model(kind).specs, values)
    return Batches({"images_BCHW": to_tensor(images), **columns}, 32, seed=0)


def learn(model: MultiTask, source: Batches, kind: str = "multiclass", steps: int = 40) -> None:
    """Train the model on the source's labels."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for step in range(steps):
        source.set_epoch(step)
        batch = next(iter(source))
        outputs = model(model.encoder.normalise(batch["images_BCHW"]))["shape"]
        loss = KINDS[kind].loss(outputs, batch["label_1"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
