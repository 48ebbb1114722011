"""Put everything that was measured on one page that can be read offline."""

from pathlib import Path

import pandas as pd

from pipeline_lib.core.files import read_json, write_text
from pipeline_lib.core.progress import say
from pipeline_lib.data.dataset import present_labels, read_dataset
from pipeline_lib.report.page import render_page
from tasks.params import PARAMS_FILE, Params
from tasks.stage import Stage, main

PAGE = "reports/report.html"


def run(stage: Stage) -> None:
    """Render the report."""
    params = stage.params
    target = Path("data/target")
    page = render_page(
        title=params.report.title,
        transfer=read_json(Path("reports/transfer.json")),
        audit=read_json(Path("reports/audit.json")),
        source=read_dataset(Path("data/source")),
        target=read_dataset(target, present_labels(target, [params.primary])),
        projections=pd.read_parquet("reports/projection.parquet"),
        predictions=pd.read_parquet("predictions/adapt.parquet"),
        primary=params.primary,
        model=params.adapt.use,
        metrics={path.stem: read_json(path) for path in _by_stage("metrics/*.json")},
        curves={path.stem: pd.read_csv(path) for path in _by_stage("plots/*.csv")},
        settings=PARAMS_FILE.read_text(encoding="utf-8"),
        thumbnails=params.report.thumbnails,
        seed=params.seed,
    )
    write_text(stage.output(PAGE), page)
    say(f"{PAGE}: {len(page.encode()) / 1e6:.1f} MB")


def _by_stage(pattern: str) -> list[Path]:
    """Return the files in the order of the stages, which is that of the blocks of params.yaml."""
    order = {name: index for index, name in enumerate(Params.model_fields)}
    return sorted(Path().glob(pattern), key=lambda path: (order.get(path.stem, len(order)), path.stem))


if __name__ == "__main__":
    main("report", run)
