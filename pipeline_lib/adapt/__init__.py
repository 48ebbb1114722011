"""Adapters: they carry a trained model over to an unlabelled target. A new one is a file and a line here."""

from collections.abc import Mapping

from pipeline_lib.adapt.adabn import AdaBN
from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.adapt.mcc import MCC
from pipeline_lib.adapt.shot_im import ShotIM

ADAPTERS: Mapping[str, type[Adapter]] = {
    "adabn": AdaBN,
    "mcc": MCC,
    "shot_im": ShotIM,
}

__all__ = ["ADAPTERS", "Adapter"]
