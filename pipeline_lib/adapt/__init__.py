"""Adapters: they carry a trained model over to an unlabelled target. A new one is a file and a line here."""

from collections.abc import Mapping

from pipeline_lib.adapt.adabn import AdaBN
from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.adapt.cdan import CDAN
from pipeline_lib.adapt.continued import Continued
from pipeline_lib.adapt.coral import CORAL
from pipeline_lib.adapt.dan import DAN
from pipeline_lib.adapt.dann import DANN
from pipeline_lib.adapt.deep_coral import DeepCORAL
from pipeline_lib.adapt.eata import EATA
from pipeline_lib.adapt.jumbot import JUMBOT
from pipeline_lib.adapt.mcc import MCC
from pipeline_lib.adapt.self_training import SelfTraining
from pipeline_lib.adapt.shot import Shot
from pipeline_lib.adapt.shot_im import ShotIM
from pipeline_lib.adapt.subspace import Subspace
from pipeline_lib.adapt.tent import TENT

ADAPTERS: Mapping[str, type[Adapter]] = {
    "adabn": AdaBN,
    "cdan": CDAN,
    "continued": Continued,
    "coral": CORAL,
    "dan": DAN,
    "dann": DANN,
    "deep_coral": DeepCORAL,
    "eata": EATA,
    "jumbot": JUMBOT,
    "mcc": MCC,
    "self_training": SelfTraining,
    "shot": Shot,
    "shot_im": ShotIM,
    "subspace": Subspace,
    "tent": TENT,
}

__all__ = ["ADAPTERS", "Adapter"]
