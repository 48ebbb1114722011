"""The benchmark of predict: that it ends with its line, and measures a file that it wrote."""

import json
import sys

import pytest

from benchmarks import predict
from pipeline_lib.use.to_onnx import PACKAGES, TOLERANCE


def test_it_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed: it is of the extra 'export'")
    monkeypatch.setattr(sys, "argv", ["predict", "--images", "40", "--rounds", "2", "--size", "16", "--device", "cpu"])
    predict.main()
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert found["images_per_second"] > 0 and 0 <= found["onnx_max_difference"] <= TOLERANCE
    assert len(found["rounds"]) == 2 and "round 2" in said.err
