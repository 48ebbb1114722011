"""Choose the source images that pretraining uses, and their weights.

Every source image may be chosen, those of its test split too: pretraining reads no labels, and the test split
holds back labels. The target's images are read by some selectors, its labels by none.
"""

import pandas as pd

from pipeline_lib.core.files import write_json, write_parquet
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.select import SELECTORS
from pipeline_lib.select.selection import effective_sample_size
from tasks.blocks.select import Select
from tasks.blocks.shared import Drawn, Roles
from tasks.roles import read_both
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main


class Settings(Roles, Drawn):
    """What this stage reads of params.yaml."""

    select: Select = Select()


def run(stage: Stage[Settings]) -> None:
    """Select source images."""
    block = stage.params.select
    source, target = read_both(stage.params)
    with written_in("select"):
        selector = with_options(pick(SELECTORS, block.method, "method"), block.options, "options")
        selection = selector(source.images, target.images, block.size, stage.params.seed)
    table = pd.DataFrame({"id": source.table["id"].to_numpy()[selection.rows], "weight": selection.weights})
    write_parquet(stage.output("selection/source.parquet"), table)
    effective = effective_sample_size(selection.weights)
    metrics = {
        "num_selected": len(table),
        "selected_share": len(table) / len(source),
        "effective_sample_size": effective,
        "effective_sample_size_share": effective / len(table),
        **selection.metrics,
    }
    write_json(stage.output("metrics/select.json"), metrics)
    say(f"{len(table)} of {len(source)} source images selected by '{block.method}', worth {effective:.0f} equal ones")
    for warning in selection.warnings:
        say(f"warning: {warning}")


if __name__ == "__main__":
    arguments(__doc__)
    main("select", run, Settings)
