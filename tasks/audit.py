"""Say what applies to these labels, measure how source and target differ and what is wrong with them.

The pipeline stops here where a finding is set to be refused.
"""

import numpy as np

from pipeline_lib.audit.audit import Seen, audit, flat
from pipeline_lib.audit.findings import find, refuse_blocking
from pipeline_lib.core.files import write_json, write_text
from pipeline_lib.core.progress import say
from pipeline_lib.data.roles import Role
from pipeline_lib.labels.tasks import explain, resolve_tasks, table
from pipeline_lib.report.audit_page import render_audit
from tasks.blocks.audit import Audit
from tasks.blocks.compare import PIXELS, Compared
from tasks.blocks.labels import Labelled
from tasks.blocks.shared import Roles
from tasks.features import components
from tasks.roles import read_both
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main

PAGE = "reports/audit.html"


class Settings(Labelled, Roles, Compared):
    """What this stage reads of params.yaml."""

    audit: Audit = Audit()


def run(stage: Stage[Settings]) -> None:
    """Audit both roles."""
    params, block = stage.params, stage.params.audit
    with written_in("audit"):
        params.compare.refuse_unknown_features(block.features)
    source, target = read_both(params, list(params.labels))
    with written_in("labels"):
        tasks = resolve_tasks(source, target, params.label_settings)
    for line in (*table(tasks), *map(explain, tasks.values())):
        say(line)
    seen = _seen(params, source, target)
    with written_in("audit"):
        result = audit(
            source, target, sample=block.sample, permutations=block.permutations, seed=params.seed, seen=seen
        )
        findings = find(result, block.refuse.model_dump())
        for finding in findings:
            say(f"{finding['level']}: {finding['sentence']}")
        refuse_blocking(findings)
    found = {**result, "findings": findings}
    write_json(stage.output("reports/audit.json"), found)
    write_text(stage.output(PAGE), render_audit(found, source, target))
    write_json(stage.output("metrics/audit.json"), flat(result))
    say(f"{PAGE} shows what is behind each")


def _seen(params: Settings, source: Role, target: Role) -> Seen | None:
    """Return what all images are to the encoder that is named, None where that is none: pixels are seen in any case."""
    features = params.audit.features
    if features == PIXELS:
        return None
    sets = [(role.images, np.arange(len(role))) for role in (source, target)]
    return Seen(features, components("audit", params, target, features, sets))


if __name__ == "__main__":
    arguments(__doc__ or "")
    main("audit", run, Settings)
