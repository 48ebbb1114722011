"""A model as one ONNX file that needs nothing else of this project, checked against what torch says.

onnx, onnxruntime and onnxscript are imported by the functions that need them: they are an extra.
"""

import copy
import json
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError, reason
from pipeline_lib.core.progress import track
from pipeline_lib.use.model import Usable

INPUT = "images"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# Of probabilities, and of numbers in standard deviations of their label.
TOLERANCE = 1e-3
BATCH_SIZE = 64


class _Readable(nn.Module):
    """Maps framed images, uint8 ``[B, H, W, C]``, to what a reader is told of each label."""

    def __init__(self, usable: Usable) -> None:
        super().__init__()
        self.usable, self.model = usable, copy.deepcopy(usable.model).eval()
        _make_expressible(self.model)

    def forward(self, images_BHWC: Tensor) -> tuple[Tensor, ...]:
        x_BCHW = self.model.encoder.normalise(images_BHWC.permute(0, 3, 1, 2))
        return tuple(self.usable.readable(self.model(x_BCHW)).values())


class _Cells(nn.Module):
    """``nn.AdaptiveMaxPool2d`` by operations that ONNX has: the greatest of each cell.

    ``shape`` is the number of cells of an axis, or of both.
    """

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape if isinstance(shape, tuple) else (shape, shape)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for dim, num in zip((-2, -1), self.shape, strict=True):
            length = x_BCHW.shape[dim]
            # Cells overlap where their number does not divide the length.
            bounds = [(cell * length // num, -(-(cell + 1) * length // num)) for cell in range(num)]
            cells = [x_BCHW.narrow(dim, start, end - start).amax(dim) for start, end in bounds]
            x_BCHW = torch.stack(cells, dim)
        return x_BCHW


def _make_expressible(module: nn.Module) -> None:
    """Replace what ONNX lacks by what is the same."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.AdaptiveMaxPool2d):
            module.add_module(name, _Cells(child.output_size))
        else:
            _make_expressible(child)


def refuse_missing() -> None:
    """Raise UserError where a package is not installed that writes or runs ONNX."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"export needs {', '.join(missing)}, which this environment lacks: install them, as with "
            "'.venv/bin/pip install --editable .[export]' in the clone"
        )


def write_onnx(path: Path, usable: Usable) -> None:
    """Write a model whose input ``images`` is uint8 ``[B, H, W, C]``, framed, of any number B of images.

    Its outputs have the names of the labels: probabilities ``[B, C]`` of classes or tags, calibrated where the model
    is, or numbers ``[B]`` in the label's unit; a name that is taken in the file gets "label " before it. Its metadata
    has ``labels`` and ``framing`` as JSON. Normalisation and resizing to what the encoder takes are inside. Raises
    UserError for a model that ONNX cannot express.
    """
    import onnx

    framing, names = usable.framing, list(usable.model.specs)
    example = torch.zeros(2, framing["size"], framing["size"], framing["channels"], dtype=torch.uint8)
    # Names of ours until the file is there: those of labels may be those of nodes.
    own = [f"label_{number}_of_{len(names)}" for number in range(len(names))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Readable(usable),
                (example,),
                input_names=[INPUT],
                output_names=own,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise _inexpressible(usable, error) from error
    assert program is not None
    proto = program.model_proto
    _forget_places(proto.graph)
    for function in proto.functions:
        _forget_places(function)
    taken = {INPUT, *(name for node in proto.graph.node for name in (*node.input, *node.output))}
    taken |= {tensor.name for tensor in proto.graph.initializer}
    for ours, name in zip(own, names, strict=True):
        _rename(proto.graph, ours, name if name not in taken else f"label {name}")
    about = {
        "labels": json.dumps([{"name": name, **spec} for name, spec in usable.model.specs.items()], sort_keys=True),
        "framing": json.dumps(dict(framing), sort_keys=True),
    }
    onnx.helper.set_model_props(proto, about)
    try:
        onnx.checker.check_model(proto)
        onnx.save_model(proto, path)
    except (onnx.checker.ValidationError, ValueError) as error:  # such as a model of more than 2 GB
        raise _inexpressible(usable, error) from error


def difference(path: Path, usable: Usable, images_NHWC: np.ndarray) -> float:
    """Return the greatest difference of the file's outputs from torch's, of images uint8 ``[N, H, W, C]``.

    Numbers are compared in standard deviations of their label. Raises UserError above TOLERANCE, and where ONNX Runtime
    does not take the file.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise _inexpressible(usable, error) from error
    model = usable.model.eval()
    scales = [spec.get("std", 1.0) for spec in model.specs.values()]
    greatest = 0.0
    starts = range(0, len(images_NHWC), BATCH_SIZE)
    for start in track(starts, "export", len(starts)):
        batch = images_NHWC[start : start + BATCH_SIZE]
        with torch.no_grad():
            x_BCHW = model.encoder.normalise(torch.from_numpy(batch).permute(0, 3, 1, 2))
            expected = usable.readable(model(x_BCHW)).values()
        found: Sequence[np.ndarray] = session.run(None, {INPUT: batch})
        for ours, theirs, scale in zip(expected, found, scales, strict=True):
            greatest = max(greatest, float(np.abs(ours.numpy() - theirs).max()) / scale)
    if not greatest <= TOLERANCE:
        raise UserError(
            f"the ONNX file differs from the model by up to {greatest:.2g}, more than {TOLERANCE:g}, so it is not "
            "kept: other versions of onnxruntime and onnxscript may do better"
        )
    return greatest


def _rename(graph: "onnx.GraphProto", old: str, new: str) -> None:  # type: ignore[name-defined] # noqa: F821
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for output in graph.output:
        if output.name == old:
            output.name = new


def _forget_places(graph: object) -> None:
    """Take out of a graph where in which file on this machine each of its nodes was made."""
    graph.ClearField("doc_string")  # type: ignore[attr-defined]
    for part in ("node", "input", "output", "value_info", "initializer"):
        for item in getattr(graph, part, ()):
            if hasattr(item, "metadata_props"):
                item.ClearField("metadata_props")
                item.ClearField("doc_string")


def _inexpressible(usable: Usable, error: BaseException) -> UserError:
    while error.__cause__ is not None:  # the exporter says at first only where it was
        error = error.__cause__
    return UserError(
        f"ONNX cannot express this model, whose encoder is '{usable.model.encoder.name}' ({reason(error)[:200]}): use "
        "it from Python, as 'predict' does"
    )
