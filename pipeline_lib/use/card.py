"""The card of an exported model: what it says, from which images it has it, how well, and what it is not for."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.labels import KINDS
from pipeline_lib.use.model import Usable
from pipeline_lib.use.to_onnx import INPUT

# Of a cell or a line: names of labels and classes are the user's words, and may be of any length.
MOST_CHARACTERS = 200
NO_USES = (
    "pictures unlike those that it was trained on: it answers all the same, and does not mark them as `predict` does",
    "decisions about people, or where a wrong answer does harm, without a test on labelled images of that very use",
    "classes, tags or sizes that are not listed above: it answers with what it knows",
)


def card(
    usable: Usable, datasets: Mapping[str, Mapping[str, Any]], evaluation: Mapping[str, Any] | None, difference: float
) -> dict[str, Any]:
    """Return what is known of a model, as JSON holds it.

    ``datasets`` are the cards of those that are at hand, by their names, ``evaluation`` is the report's, where it is
    about this model, and ``difference`` is that of the ONNX file from torch.
    """
    config = usable.config
    method = config.get("method", "source_only")
    rows = [row for row in (evaluation or {}).get("scores", []) if row["model"] == method]
    return {
        "encoder": config["encoder"],
        "fingerprint": config.get("fingerprint"),
        "trained": config.get("train"),
        "adapted_by": None if method == "source_only" else method,
        "labels": [
            {
                "name": name,
                **spec,
                "learnt_from": config.get("learnt_from", {}).get(name),
                "calibrated": name in usable.temperatures,
            }
            for name, spec in usable.model.specs.items()
        ],
        "framing": dict(usable.framing),
        "framed_as": usable.framed_as,
        "datasets": {
            name: {
                "role": "target" if name in config["target"] else "source",
                **{key: datasets[name].get(key) for key in ("reader", "num_images", "splits") if name in datasets},
            }
            for name in config["framing"]
        },
        "licence": None,
        "scores": [
            {key: row[key] for key in ("domain", "label", "metric", "value", "low", "high", "constant")} for row in rows
        ],
        "seeds": (evaluation or {}).get("seeds"),
        "onnx_max_difference": difference,
        "not_for": list(NO_USES),
    }


def page(found: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    labels = [
        [one["name"], one["kind"], _says(one), one["learnt_from"] or "unknown", "yes" if one["calibrated"] else "no"]
        for one in found["labels"]
    ]
    data = [
        [name, one["role"], one.get("reader") or "unknown", one.get("num_images", "unknown"), _splits(one)]
        for name, one in found["datasets"].items()
    ]
    adapted = f", adapted to the target by {found['adapted_by']}" if found["adapted_by"] else ""
    seeds = found["seeds"] or []
    scored = "\n\n".join(
        [
            f"On held-out images, the mean over {len(seeds)} training{'s' * (len(seeds) != 1)} (seed "
            f"{', '.join(map(str, seeds))}), with 95% intervals; this file is one of them.",
            _table(["on", "label", "metric", "score", "interval", "a constant answer"], _scores(found)),
        ]
    )
    return (
        "\n\n".join(
            [
                "# Model card",
                f"`model.onnx` is the encoder {_text(found['encoder'])} with a head for each label{adapted}. It takes "
                "framed images and says:",
                _table(["label", "kind", "says", "learnt from", "calibrated"], labels),
                "## Data",
                _table(["dataset", "role", "reader", "images", "splits"], data),
                "The licences of the images are not recorded: ask whoever gave them to you before you pass this on.",
                "## Scores",
                scored if found["scores"] else "Not scored: no report of this model was at hand, or no test label.",
                "## Not for",
                "\n".join(f"- {use}" for use in found["not_for"]),
                "## Use it",
                f"```python\n{example(found['framing'])}\n```",
                "What it says of an image differs from what PyTorch says by "
                f"{found['onnx_max_difference']:.1g} at most (probabilities; numbers in standard deviations).",
            ]
        ).replace("\n\n\n", "\n\n")
        + "\n"
    )


def example(framing: Mapping[str, Any]) -> str:
    """Return the lines that frame a picture without this project, and ask the file about it."""
    size, content, ground = framing["size"], framing["content"], framing["background"]
    low, high = framing["levels"]
    mode = "L" if framing["channels"] == 1 else "RGB"
    colour = ground if mode == "L" else (ground,) * 3
    lines = [
        "import numpy as np, onnxruntime",
        "from PIL import Image, ImageOps",
        f'picture = ImageOps.exif_transpose(Image.open("picture.png")).convert("{mode}")',
        *(["picture = ImageOps.invert(picture)"] if framing["invert"] else []),
        f"picture = ImageOps.contain(picture, ({content}, {content}), Image.Resampling.BICUBIC)",
        *(
            [f"picture = picture.point(lambda v: round(min(max((v - {low}) / {high - low}, 0), 1) * 255))"]
            if (low, high) != (0, 255)
            else []
        ),
        f'framed = Image.new("{mode}", ({size}, {size}), {colour})',
        f"framed.paste(picture, (({size} - picture.width) // 2, ({size} - picture.height) // 2))",
        'session = onnxruntime.InferenceSession("model.onnx")',
        f"images = np.asarray(framed).reshape(1, {size}, {size}, {framing['channels']})  # as many as you like",
        "labels = [output.name for output in session.get_outputs()]",
        f'answers = dict(zip(labels, session.run(None, {{"{INPUT}": images}})))',
    ]
    return "\n".join(lines)


def _says(label: Mapping[str, Any]) -> str:
    if KINDS[label["kind"]].stored == "float64":
        return "a number"
    what = "the probability of each of" if KINDS[label["kind"]].has_classes else "the probability of each tag:"
    return f"{what} {', '.join(label['classes'])}"


def _scores(found: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [
            row["domain"],
            row["label"],
            row["metric"].replace("_", " "),
            _number(row["value"]),
            "" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}",
            _number(row["constant"]),
        ]
        for row in found["scores"]
    ]


def _splits(dataset: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in (dataset.get("splits") or {}).items()) or "unknown"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Any) -> str:
    """Return a cell on one line, in which Markdown and HTML see nothing but text."""
    text = " ".join(str(value).split())
    text = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~" else c for c in escaped)
