"""The picture of the map, kept from when it was drawn: that takes longer than all else in a run with nothing to do."""

import hashlib
from pathlib import Path

from pipeline_lib.core.files import atomic

FOLDER = Path(".graftline/map")
CODE = Path(__file__).with_name("picture.py")


def kept_map(projection_file: Path, target_folder: Path, label: str) -> bytes:
    """Return what :func:`flows.picture.draw_map` draws, from the last time if nothing that it shows changed."""
    digest = hashlib.sha256(label.encode())
    for file in (CODE, projection_file, target_folder / "table.parquet", target_folder / "card.json"):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    kept = FOLDER / f"{digest.hexdigest()[:16]}.png"
    if not kept.exists():
        from flows.picture import draw_map  # not at the top: pandas and Pillow take long to import

        earlier = list(FOLDER.glob("*.png"))
        with atomic(kept) as partial:
            partial.write_bytes(draw_map(projection_file, target_folder, label))
        for file in earlier:
            file.unlink(missing_ok=True)
    return kept.read_bytes()
