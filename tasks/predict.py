"""Say what a model makes of new pictures: every label, how sure it is, and what is unlike all it was trained on."""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import atomic, write_csv, write_parquet
from pipeline_lib.core.processes import keep_freed_memory
from pipeline_lib.core.progress import say
from pipeline_lib.data.readers.folder import folder
from pipeline_lib.data.samples import printable
from pipeline_lib.heads.familiarity import FALSE_ALARMS
from pipeline_lib.use.model import Usable, load_usable
from pipeline_lib.use.predict import predict
from tasks.blocks.shared import Trained
from tasks.settings import read_settings
from tasks.stage import guarded, refuse_unwritable
from tasks.yaml_files import PARAMS_FILE

WRITERS: Mapping[str, Callable[[Path, pd.DataFrame], None]] = {".parquet": write_parquet, ".csv": write_csv}
MOST_LISTED = 10  # of broken files; the table has them all


def main() -> None:
    """Predict, write the table, and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="a folder of pictures, with those in it"
    )
    add_model(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table: .parquet or .csv")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--batch-size", type=int, default=128, help="images that are passed at a time")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    arguments = parser.parse_args()
    write = WRITERS.get(arguments.out.suffix.lower())
    if write is None:
        raise UserError(f"--out is {arguments.out}, which must end in {' or '.join(WRITERS)}: name such a file")
    if arguments.out.is_dir():
        raise UserError(f"--out is {arguments.out}, which is a folder: name a file")
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size is {arguments.batch_size}, but must be at least 1")
    refuse_unwritable([arguments.out])
    keep_freed_memory()
    usable = model_of(arguments)
    reading = folder(arguments.images.absolute(), None, ())
    for note in reading.notes:
        say(f"predict: {note}")
    device = resolve_device(arguments.device)
    table = predict(usable, reading.samples, device, arguments.batch_size)
    broken = table.loc[table["problem"].notna()].drop_duplicates("file")
    if len(broken) == len(reading.samples):
        first = broken.iloc[0]
        raise UserError(
            f"none of the {len(broken)} pictures in {arguments.images} can be used ({first['file']}: "
            f"{first['problem']}): mend or replace them"
        )
    with atomic(arguments.out) as partial:
        write(partial, table)
    _summarise(usable, table, broken, arguments.out)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model is used, and on what."""
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="a model's folder; without it, models/adapted/ of the first of seeds"
    )
    parser.add_argument(
        "--like", metavar="DATASET", help="frame pictures as this one's are; without it, the first of the target"
    )


def model_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the model that the options name."""
    if arguments.model is not None:
        return Path(arguments.model)
    if not PARAMS_FILE.exists():
        raise UserError(f"there is no {PARAMS_FILE} here that says which model is meant: name its folder by --model")
    return Path(f"models/adapted/{read_settings(Trained).seeds[0]}")


def model_of(arguments: argparse.Namespace) -> Usable:
    """Return the model that the options name."""
    return load_usable(model_folder(arguments), arguments.like)


def _summarise(usable: Usable, table: pd.DataFrame, broken: pd.DataFrame, out: Path) -> None:
    images = table.drop_duplicates("file")
    say(f"predict: {len(images) - len(broken)} pictures, framed like those of '{usable.framed_as}'; the table is {out}")
    for label, rows in table.groupby("label", sort=False):
        said = Counter(rows["answer"].dropna())
        if said:
            most = ", ".join(f"{answer} ({count})" for answer, count in said.most_common(3))
            calibrated = "" if label in usable.temperatures else ", which is not calibrated"
            say(f"predict: '{label}': {most}; mean confidence {rows['confidence'].mean():.2f}{calibrated}")
        else:
            say(f"predict: '{label}': {rows['value'].mean():.4g} on average")
    if usable.familiarity is None:
        say("predict: the model does not know what it was trained on, so nothing is marked as unfamiliar")
    else:
        say(
            f"predict: unlike what the model was trained on: {images['unfamiliar'].sum()}; of pictures like those, "
            f"{FALSE_ALARMS:.0%} would be marked at most"
        )
    for file, problem in broken[["file", "problem"]].head(MOST_LISTED).itertuples(index=False):
        say(f"predict: {printable(file)} cannot be used: {problem}")
    if len(broken) > MOST_LISTED:
        say(f"predict: and {len(broken) - MOST_LISTED} more cannot be used, {len(broken)} in all: the table names them")


if __name__ == "__main__":
    guarded(main)
