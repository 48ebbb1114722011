"""Check params.yaml before anything starts."""

from tasks.params import PARAMS_FILE, read_params
from tasks.stage import arguments, guarded


def check() -> None:
    """Check params.yaml and say so."""
    arguments(__doc__)
    read_params()
    print(f"{PARAMS_FILE} is valid")


if __name__ == "__main__":
    guarded(check)
