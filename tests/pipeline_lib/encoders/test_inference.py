import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.core import progress
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import evaluating, features, read_ahead, stream
from tests.pipeline_lib.training.sets import random_images, stored

CPU = torch.device("cpu")


def make_encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("small_cnn", 1, 16, [0.5], [0.3])


def test_features_are_the_encoders_in_evaluation_mode_and_in_order(tmp_path: Path) -> None:
    encoder, images = make_encoder(), random_images(13, 16, 1)
    order = np.array([12, 0, 5, 5, 3, 1, 2])
    found = features(encoder, stored(tmp_path, images, order), CPU, 3)
    expected = encoder.eval()(encoder.normalise(torch.from_numpy(images[order]).permute(0, 3, 1, 2)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_features_are_the_same_each_time(tmp_path: Path) -> None:
    encoder, rows = make_encoder(), stored(tmp_path, random_images(50, 16, 1))
    np.testing.assert_array_equal(features(encoder, rows, CPU, 7), features(encoder, rows, CPU, 7))


def test_no_images_have_no_features(tmp_path: Path) -> None:
    rows = stored(tmp_path, random_images(3, 16, 1), np.arange(0))
    assert features(make_encoder(), rows, CPU, 4).shape == (0, 128)
    assert stream(make_encoder(), make_encoder(), rows, CPU, 4, lambda x: x, "nothing") == []


class Heads(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        assert not self.encoder.training
        assert not torch.is_grad_enabled()
        assert x.is_contiguous(memory_format=torch.channels_last)
        return {"mean": self.encoder(x).mean(1).half(), "argmax": self.encoder(x).argmax(1)}


def test_outputs_may_be_a_mapping_and_are_reduced_in_float32_batch_by_batch(tmp_path: Path) -> None:
    encoder, rows, seen = make_encoder(), stored(tmp_path, random_images(10, 16, 1)), []

    def reduce(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append({name: value.dtype for name, value in outputs.items()})
        return {"sum": outputs["mean"].sum(), "argmax": outputs["argmax"]}

    parts = stream(Heads(encoder), encoder, rows, CPU, 4, reduce, None)
    assert seen == [{"mean": torch.float32, "argmax": torch.int64}] * 3
    assert [len(part["argmax"]) for part in parts] == [4, 4, 2]
    expected = features(encoder, rows, CPU, 4)
    assert torch.cat([part["argmax"] for part in parts]).tolist() == expected.argmax(1).tolist()


def test_each_part_of_a_module_gets_its_mode_back_also_after_an_error(tmp_path: Path) -> None:
    encoder, rows = make_encoder(), stored(tmp_path, random_images(5, 16, 1))
    encoder.train()
    encoder.backbone[1].eval()
    before = [module.training for module in encoder.modules()]
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    features(encoder, rows, CPU, 2)
    with pytest.raises(ZeroDivisionError):
        stream(encoder, encoder, rows, CPU, 2, lambda _: 1 / 0, None)
    assert [module.training for module in encoder.modules()] == before
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    with evaluating(encoder):
        assert not any(module.training for module in encoder.modules())


def test_progress_is_shown_under_the_label_and_not_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    rows = stored(tmp_path, random_images(10, 16, 1))
    features(make_encoder(), rows, CPU, 4)
    assert not capsys.readouterr().out
    features(make_encoder(), rows, CPU, 4, "the target")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["label"], event["done"], event["total"]) for event in events] == [
        ("the target", done, 3) for done in (1, 2, 3)
    ]


def test_reading_ahead_keeps_the_order_counts_waits_and_hands_on_errors() -> None:
    waits: list[float] = []
    assert list(read_ahead(lambda x: x * x, range(7), waits.append)) == [x * x for x in range(7)]
    assert len(waits) == 7
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda x: 1 // x, [1, 0, 1]))


SPARSE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import stream
path = Path(sys.argv[1])
images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(1_500, 256, 256, 3))
del images
encoder = Encoder("small_cnn", 3, 256, [0.5] * 3, [0.3] * 3)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
rows = Rows(Images(path), np.arange(1_500))
parts = stream(nn.AdaptiveAvgPool2d(1), encoder, rows, torch.device("cpu"), 16, lambda x: x.flatten(1), None)
assert len(parts) == 94
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, tmp_path / "images.npy"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # As floats they are 1.2 GB, and about as much was lost where what is kept lay between the tensors of the batches.
    assert int(done.stdout) < 400e6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_results_are_float32_on_the_cpu_and_near_those_of_a_cpu(tmp_path: Path) -> None:
    encoder, rows = make_encoder(), stored(tmp_path, random_images(50, 16, 1))
    slow = features(encoder, rows, CPU, 8)
    (fast,) = stream(encoder, encoder, rows, torch.device("cuda"), 50, lambda x: x, None)
    assert fast.dtype == torch.float32
    assert fast.device == CPU
    np.testing.assert_allclose(fast.numpy(), slow, rtol=0.1, atol=0.05)
