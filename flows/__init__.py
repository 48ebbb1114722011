"""Prefect runs what DVC declares, as flows/server/settings.py has it."""

import sys

from flows.server import settings
from pipeline_lib.core.errors import UserError

try:
    settings.apply()
except UserError as mistake:
    print(f"error: {mistake}", file=sys.stderr)
    raise SystemExit(2) from None
