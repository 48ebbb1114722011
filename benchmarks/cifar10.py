"""kNN accuracy on CIFAR-10 after pretraining without labels, as lightly's own benchmark of that name measures it.

    python -m benchmarks.cifar10 --data DIR --method simclr --epochs 200 [--views ours|lightly] [--limit N]

DIR holds train.parquet and test.parquet with the columns ``image`` (encoded) and ``label``. Model, loss, optimiser and
schedule are the same for both kinds of views. With ``ours`` the product's own loop makes the views on the device;
with ``lightly`` a DataLoader with a worker per core makes them one image at a time, as lightly's recipe does.
After every epoch a kNN vote (k = 200, temperature 0.1) of the training images classifies the test images:
the last and the highest accuracy are given, the second as in the published tables.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import machine
from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.processes import keep_freed_memory
from pipeline_lib.core.registry import pick
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import Encoder, from_config
from pipeline_lib.methods import LABELLED, METHODS
from pipeline_lib.training import Batches, Hardware, fit
from pipeline_lib.training.optimisers import REFERENCE_BATCH, make_optimizer, warmup_cosine
from pipeline_lib.training.probe import FeatureProbe
from pipeline_lib.views import View, augment
from pipeline_lib.views.reference import lightly_transform

NORMALISATION = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
# The recipe: SGD with 0.06 for a batch of 128; photographs of 32 px are not blurred, and jittered at half strength.
LR, WEIGHT_DECAY = 0.06 * 2, 5e-4
CHANGES = {"blur": 0.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


def read(path: Path, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (uint8 ``[N, 32, 32, 3]``) and labels (int64 ``[N]``) of a table."""
    table = pd.read_parquet(path)
    # Numbered before a part of it is taken, and mixed, for the table may be in the order of the classes.
    table["number"] = pd.factorize(table["label"], sort=True)[0]
    table = table.sample(frac=1, random_state=0).iloc[:limit]
    images = [np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in table["image"]]
    return np.stack(images), table["number"].to_numpy(dtype=np.int64)


def with_ours(learner: nn.Module, columns: Mapping[str, Any], arguments: argparse.Namespace, probe: Any) -> Any:
    """Train with the product's loop; return the kNN accuracies and images a second."""
    with tempfile.TemporaryDirectory() as folder:
        history = fit(
            learner,
            Batches(columns, arguments.batch, arguments.seed),
            name="cifar10",
            epochs=arguments.epochs,
            lr=LR,
            weight_decay=WEIGHT_DECAY,
            optimizer="sgd",
            hardware=Hardware(arguments.device, precision=arguments.precision),
            seed=arguments.seed,
            checkpoints=Path(folder),
            watch=probe,
        )
    return history["knn"].tolist(), history.attrs["speed"]["images_per_second"]


class _Views(Dataset[list[Tensor]]):
    """Every view of an image, made when the image is asked for."""

    def __init__(self, images_NHWC: np.ndarray, views: tuple[View, ...], encoder: Encoder) -> None:
        self.images = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
        normalisation = encoder.mean.tolist(), encoder.std.tolist()
        self.changes = [lightly_transform(view, *normalisation, view.size or encoder.size) for view in views]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return [change(self.images[index]) for change in self.changes]


def with_lightly(learner: Any, data: _Views, arguments: argparse.Namespace, probe: Any) -> Any:
    """Train with a DataLoader of lightly's views; return the kNN accuracies and images a second."""
    learner.to(arguments.device).to(memory_format=torch.channels_last).train()
    loader = DataLoader(data, arguments.batch, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 1)
    optimizer = make_optimizer("sgd", learner.parameters(), LR * arguments.batch / REFERENCE_BATCH, WEIGHT_DECAY)
    schedule = warmup_cosine(optimizer, len(loader) * arguments.epochs)
    knn, seconds, step = [], 0.0, 0
    for epoch in range(arguments.epochs):
        start = time.perf_counter()
        for views in loader:
            if hasattr(learner, "begin_step"):
                learner.begin_step(step / (len(loader) * arguments.epochs))
            learner.views = lambda _, views=views: [
                view.to(arguments.device, memory_format=torch.channels_last) for view in views
            ]
            loss = learner(views[0])["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        seconds += time.perf_counter() - start
        knn.append(probe()["knn"])
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, kNN {knn[-1]:.3f}", file=sys.stderr)
    return knn, step * arguments.batch / seconds


def main() -> None:
    """Train, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--views", choices=["ours", "lightly"], default="ours")
    parser.add_argument("--limit", type=int, help="train on so many images, and test on a fifth as many")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.device = resolve_device(arguments.device)
    keep_freed_memory()
    images, labels = read(arguments.data / "train.parquet", arguments.limit)
    test_images, test_labels = read(arguments.data / "test.parquet", arguments.limit and arguments.limit // 5)
    seed_everything(arguments.seed)
    recipe = {"encoder": arguments.encoder, "channels": 3, "size": 32, "stem": None, **NORMALISATION}
    encoder = from_config(recipe, arguments.seed)
    asked: list[View] = []
    changes: dict[str, Any] = CHANGES
    draw = augment(encoder, changes)

    def plan(*views: View) -> Any:
        asked.extend(replace(view, **changes) for view in views)
        return draw(*views)

    supervised = arguments.method in LABELLED
    options = {"num_classes": 10} if supervised else {}
    learner = pick(METHODS, arguments.method, "--method")(encoder, plan, **options)
    with tempfile.TemporaryDirectory() as folder:
        bank, queries = Path(folder) / "train.npy", Path(folder) / "test.npy"
        np.save(bank, images)
        np.save(queries, test_images)
        rows = Rows(Images(bank), np.arange(len(images)))
        probe = FeatureProbe(
            encoder,
            rows,
            Rows(Images(queries), np.arange(len(test_images))),
            torch.from_numpy(labels),
            torch.from_numpy(test_labels),
        )
        if arguments.views == "ours":
            columns = {"images_BCHW": rows, **({"labels": torch.from_numpy(labels)} if supervised else {})}
            knn, speed = with_ours(learner, columns, arguments, probe)
        else:
            knn, speed = with_lightly(learner, _Views(images, tuple(asked), encoder), arguments, probe)
    result = {
        "knn_last": round(knn[-1], 4),
        "knn_max": round(max(knn), 4),
        "images_per_second": round(speed, 1),
        **{
            name: getattr(arguments, name)
            for name in ("method", "epochs", "views", "limit", "encoder", "batch", "seed")
        },
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
