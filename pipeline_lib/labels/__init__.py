"""Kinds of labels by name. A new one is a file with a :class:`~pipeline_lib.labels.kind.Kind`, and a line here."""

from collections.abc import Mapping

from pipeline_lib.labels.binary import Binary
from pipeline_lib.labels.kind import Kind
from pipeline_lib.labels.multiclass import Multiclass
from pipeline_lib.labels.multilabel import Multilabel
from pipeline_lib.labels.ordinal import Ordinal
from pipeline_lib.labels.regression import Regression

KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (Multiclass(), Binary(), Ordinal(), Multilabel(), Regression())
}
