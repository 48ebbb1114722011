"""Put everything that was measured on one page that can be read offline, and the verdict into sentences."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline_lib.core.files import read_json, write_json, write_text
from pipeline_lib.core.progress import say
from pipeline_lib.report.page import render_page
from pipeline_lib.report.sentences import verdict_summary
from tasks.blocks.labels import Primary
from tasks.blocks.report import Report
from tasks.blocks.shared import Drawn, Roles, Trained
from tasks.roles import read_both
from tasks.stage import Stage, main
from tasks.yaml_files import PARAMS_FILE, read_yaml

PAGE = "reports/report.html"


class Settings(Primary, Roles, Trained, Drawn):
    """What this stage reads of params.yaml."""

    report: Report = Report()


def run(stage: Stage[Settings]) -> None:
    """Render the report and the verdict."""
    params = stage.params
    primary = params.primary_label
    source, target = read_both(params, (), [primary] if primary else ())
    evaluation = read_json(Path("reports/evaluation.json"))
    page = render_page(
        title=params.report.title,
        evaluation=evaluation,
        findings=read_json(Path("reports/audit.json"))["findings"],
        selection=read_json(Path("reports/select.json"))["lines"],
        source=source,
        target=target,
        projections=pd.read_parquet("reports/projection.parquet"),
        predictions=pd.read_parquet(
            f"predictions/adapt/{evaluation['seeds'][0]}.parquet",
            columns=["id", "model", "label", "predicted_class", "predicted_value"],
        ),
        model=evaluation["use"],
        metrics={_name(path): read_json(path) for path in _by_stage("metrics/**/*.json", params.seeds)},
        curves={_name(path): pd.read_csv(path) for path in _by_stage("plots/**/*.csv", params.seeds)},
        settings=PARAMS_FILE.read_text(encoding="utf-8"),
        thumbnails=params.report.thumbnails,
        seed=params.seed,
    )
    verdict = verdict_summary(evaluation)
    write_text(stage.output(PAGE), page)
    write_json(stage.output("reports/verdict.json"), verdict)
    say(f"{PAGE}: {len(page.encode()) / 1e6:.1f} MB")
    for line in verdict["lines"]:
        say(line)


def _name(path: Path) -> str:
    """Return how a stage is named by what it left: metrics/pretrain/0.json is pretrain/0."""
    return "/".join(path.with_suffix("").parts[1:])


def _by_stage(pattern: str, trainings: Sequence[int]) -> list[Path]:
    """Return the files of the seeds that there are, in the order of the stages: that of the blocks of params.yaml."""
    order = {name: index for index, name in enumerate(read_yaml(PARAMS_FILE))}
    seeds = set(map(str, trainings))
    found = [path for path in Path().glob(pattern) if len(path.parts) == 2 or path.stem in seeds]
    return sorted(found, key=lambda path: (order.get(path.parts[1].partition(".")[0], len(order)), path.parts[1:]))


if __name__ == "__main__":
    main("report", run, Settings)
