"""Check params.yaml before anything starts."""

from pathlib import Path

from pipeline_lib.core.errors import UserError
from tasks.meta import DVC_FILE, parse_meta
from tasks.params import PARAMS_FILE, read_params, read_yaml
from tasks.stage import arguments, guarded, look_up


def check() -> None:
    """Check params.yaml and what it points to, and say so."""
    arguments(__doc__)
    params, raw = read_params(), read_yaml(PARAMS_FILE)
    for role, spec in {"source": params.source, "target": params.target}.items():
        if not Path(spec.path).exists():
            raise UserError(
                f"{role}.path in {PARAMS_FILE} is '{spec.path}', which does not exist: "
                "correct it, or put the images there"
            )
    for name, stage in read_yaml(DVC_FILE)["stages"].items():
        parse_meta(name, stage.get("meta"))
        for key in stage["params"]:
            look_up(key, raw)
    print(f"{PARAMS_FILE} is valid")


if __name__ == "__main__":
    guarded(check)
