"""Measure how source and target differ and what is wrong with them, and stop where it is set to be refused."""

from pathlib import Path

from pipeline_lib.audit.audit import audit, flat
from pipeline_lib.audit.findings import find, refuse_blocking
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say
from pipeline_lib.data.dataset import present_labels, read_dataset
from tasks.stage import Stage, arguments, main


def run(stage: Stage) -> None:
    """Audit both datasets."""
    block = stage.params.audit
    source, target = (
        read_dataset(folder, present_labels(folder, stage.params.labels))
        for folder in (Path("data/source"), Path("data/target"))
    )
    result = audit(source, target, sample=block.sample, permutations=block.permutations, seed=stage.params.seed)
    findings = find(result, block.refuse.model_dump())
    for finding in findings:
        say(f"{finding['level']}: {finding['sentence']}")
    refuse_blocking(findings)
    write_json(stage.output("reports/audit.json"), {**result, "findings": findings})
    write_json(stage.output("metrics/audit.json"), flat(result))


if __name__ == "__main__":
    arguments(__doc__)
    main("audit", run)
