"""Check params.yaml, dvc.yaml and what they point to before anything starts, within seconds.

PyTorch takes longer to import than all of this, so it is imported only where an option, a device or an encoder of timm
is asked for.
"""

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pipeline_lib
from pipeline_lib.core.errors import UserError, shown
from pipeline_lib.core.registry import pick, with_options
from tasks.blocks.base import listed
from tasks.blocks.heads import Heads
from tasks.declaration import Declaration, look_up, read_dvc_file, read_stages, refuse_missing
from tasks.meta import parse_meta
from tasks.params import Params, read_params
from tasks.settings import written_in
from tasks.stage import arguments, guarded, refuse_unwritable
from tasks.yaml_files import PARAMS_FILE, read_yaml


def main() -> None:
    """Check everything that params.yaml and dvc.yaml alone can get wrong, and say so."""
    arguments(__doc__ or "")
    _, notes = checked()
    for note in notes:
        print(f"note: {note}")
    print(f"{PARAMS_FILE} is valid")


def checked() -> tuple[Params, list[str]]:
    """Return the parameters, and sentences on what is no mistake but hardly meant; UserError for what is wrong."""
    params = read_params()
    _check_paths(params)
    raw = read_yaml(PARAMS_FILE)
    refuse_missing(read_dvc_file(), raw)
    stages = read_stages()
    for address, stage in stages.items():
        parse_meta(address, stage.meta)
        for key in stage.params:
            look_up(key, raw)
    refuse_unwritable(Path(out) for stage in stages.values() for out in stage.outs)
    _check_names(params)
    return params, [*_unused(params), *_judged_otherwise(params), *_leftovers(stages.values())]


def _check_names(params: Params) -> None:
    """Raise UserError for a method, reader, adapter, encoder, device or option that there is not."""
    for name, spec in params.datasets.items():
        with written_in(f"datasets.{name}"):
            _refuse_unknown("data/readers", "READERS", spec.reader, "reader")
            if spec.options:
                from pipeline_lib.data.readers import READERS

                with_options(READERS[spec.reader], spec.options, "options")
    with written_in("audit"):
        params.compare.refuse_unknown_features(params.audit.features)
    with written_in("select"):
        block = params.select
        _refuse_unknown("select", "SELECTORS", block.method, "method")
        params.compare.refuse_unknown_features(block.features)
        # Who asks for nothing waits for no import.
        if block.method != "everything" or block.without or block.options:
            from pipeline_lib.select import SELECTORS

            with_options(SELECTORS[block.method], block.options, "options")
            block.label(params)
    for name, encoder in params.compare.encoders.items():
        with written_in(f"compare.encoders.{name}"):
            _check_encoder(encoder.encoder, params)
    with written_in("pretrain"):
        _refuse_unknown("methods", "METHODS", params.pretrain.method, "method")
        if params.pretrain.options:
            from pipeline_lib.methods import METHODS

            with_options(METHODS[params.pretrain.method], params.pretrain.options, "options")
        _check_encoder(params.pretrain.encoder, params)
    with written_in("heads"):
        for name in params.heads.strategies:
            _refuse_unknown("heads/strategies", "STRATEGIES", name, "strategies")
        _check_strategies(params)
        _refuse_unknown("heads/weightings", "WEIGHTINGS", params.heads.weighting, "weighting")
        if params.heads.weighting != Heads().weighting:
            from pipeline_lib.heads.weightings import WEIGHTINGS

            WEIGHTINGS[params.heads.weighting](len(params.labels))  # which says what is not installed
    with written_in("adapt"):
        for name in params.adapt.methods:
            where = f"options.{name}.method" if params.adapt.candidate(name).method else "methods"
            _refuse_unknown("adapt", "ADAPTERS", params.adapt.adapter(name), where)
        for name in params.adapt.scorers:
            _refuse_unknown("adapt/scorers", "SCORERS", name, "scorers")
        if any(one.options for one in params.adapt.options.values()):
            from pipeline_lib.adapt import ADAPTERS

            for name, one in params.adapt.options.items():
                with_options(ADAPTERS[params.adapt.adapter(name)], one.options, f"options.{name}")
    _check_hardware(params)


def registered(package: str, registry: str) -> list[str]:
    """Return the names in an explicit dict of pipeline_lib, read without importing what stands behind them."""
    file = Path(pipeline_lib.__file__ or "").parent / package / "__init__.py"
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.value, ast.Dict)
            and ast.unparse(node.target) == registry
        ):
            return [ast.literal_eval(key) for key in node.value.keys if key]
    raise LookupError(f"{file} has no dict {registry}")


def _refuse_unknown(package: str, registry: str, name: str, where: str) -> None:
    pick(dict.fromkeys(registered(package, registry)), name, where)


def _check_encoder(name: str, params: Params) -> None:
    if name in registered("encoders", "ENCODERS"):
        return
    import timm

    from pipeline_lib.encoders.backbone import build_backbone

    if not timm.is_model(name):
        build_backbone(name, params.image.channels, params.image.size)  # which says so


def _check_strategies(params: Params) -> None:
    """Raise UserError for a strategy that the encoder cannot do; to know that takes an encoder, if an untrained one."""
    if set(params.heads.strategies) <= set(Heads().strategies):
        return
    from pipeline_lib.encoders.encoder import Encoder
    from pipeline_lib.heads.strategies import STRATEGIES

    block, channels = params.pretrain, params.image.channels
    encoder = Encoder(block.encoder, channels, block.size or params.image.size, [0.5] * channels, [0.5] * channels)
    for name in params.heads.strategies:
        STRATEGIES[name].refuse(encoder)


def _check_hardware(params: Params) -> None:
    block, processes = params.pretrain, params.pretrain.devices * params.pretrain.num_nodes
    plain = processes == 1 and block.precision == "32-true"
    if params.device in ("auto", "cpu") and plain:
        return
    from pipeline_lib.core.compute import resolve_device, resolve_hardware

    device = resolve_device(params.device)
    with written_in("pretrain"):
        resolve_hardware(device, processes, block.batch_size, block.precision)


def _check_paths(params: Params) -> None:
    for name, spec in params.datasets.items():
        key = f"datasets.{name}.path in {PARAMS_FILE} is {shown(spec.path)}"
        if not _exists(spec.path):
            raise UserError(f"{key}, which does not exist: correct it, or put the images there")
        if spec.labels is not None and not _exists(str(Path(spec.path, spec.labels))):
            raise UserError(
                f"datasets.{name}.labels in {PARAMS_FILE} is {shown(spec.labels)}, which is not in {shown(spec.path)}: "
                "correct it, put the table there, or null leaves the images without labels"
            )
    if params.pretrain.weights == "file" and not _exists(params.pretrain.weights_path):
        where = f"pretrain.weights_path in {PARAMS_FILE} is {shown(params.pretrain.weights_path)}"
        raise UserError(f"{where}, which does not exist: correct it, or put the weights there")
    if params.compare.encoders and not _exists(params.compare.path):
        where = f"compare.path in {PARAMS_FILE} is {shown(params.compare.path)}"
        raise UserError(f"{where}, which does not exist: correct it, or put the weights there")
    with written_in("compare"):
        for name, one in params.compare.encoders.items():
            one.refuse_missing(name, params.compare.path)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL in it
        return False


def _unused(params: Params) -> Iterator[str]:
    unused = [name for name in params.datasets if name not in (*params.source, *params.target)]
    if unused:
        yield f"in no role, so only ranked as a candidate source: {listed(unused)}"


def _judged_otherwise(params: Params) -> Iterator[str]:
    shown, chosen = params.audit.features, params.select.features
    if "label_errors" in params.select.without and shown != chosen:
        yield (
            f"select leaves out label errors by {chosen} and the audit shows those by {shown}: give audit.features and "
            "select.features the same value to leave out what is shown"
        )


def _leftovers(stages: Iterable[Declaration]) -> Iterator[str]:
    """Name what lies in folders that stages depend on without a stage that makes it: what was made for another list."""
    outs = {Path(out) for stage in stages for out in stage.outs}
    above = {folder for out in outs for folder in out.parents}
    folders = {Path(dep) for stage in stages for dep in stage.deps} & above
    for folder in sorted(folders - {Path()}):
        for left in sorted(_left_in(folder, outs, above)):
            yield f"{left} is left over from other settings, and stages that depend on {folder} read it: remove it"


def _left_in(folder: Path, outs: set[Path], above: set[Path]) -> Iterator[Path]:
    for path in map(Path, sorted(os.scandir(folder), key=lambda entry: entry.name)) if folder.is_dir() else ():
        if path in above and path.is_dir():
            yield from _left_in(path, outs, above)
        elif path not in outs and not path.name.startswith("."):
            yield path


if __name__ == "__main__":
    guarded(main)
