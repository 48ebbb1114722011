"""The picture of the map, kept from when it was drawn: that takes longer than all else in a run with nothing to do."""

import hashlib
from pathlib import Path

from pipeline_lib.core.files import atomic
from tasks.params import Params

FOLDER = Path(".graftline/map")
CODE = Path(__file__).with_name("picture.py")
DATASETS = Path("datasets")


def kept_map(projection_file: Path, params: Params) -> bytes:
    """Return what :func:`flows.publish.picture.draw_map` draws of the target's primary label.

    It is the picture from the last time if nothing that it shows changed.
    """
    label = params.primary_label
    digest = hashlib.sha256(repr((label, params.source, params.target)).encode())
    tables = [DATASETS / name / file for name in params.target for file in ("table.parquet", "card.json")]
    for file in (CODE, projection_file, *tables):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    kept = FOLDER / f"{digest.hexdigest()[:16]}.png"
    if not kept.exists():
        # Not at the top: pandas and Pillow take long to import.
        from flows.publish.picture import draw_map
        from tasks.roles import read_both

        _, target = read_both(params, (), [label] if label else ())
        earlier = list(FOLDER.glob("*.png"))
        with atomic(kept) as partial:
            partial.write_bytes(draw_map(projection_file, target, label))
        for file in earlier:
            file.unlink(missing_ok=True)
    return kept.read_bytes()
