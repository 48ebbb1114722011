"""Random views of images, made for a whole batch on its device, each sample with parameters of its own."""

from pipeline_lib.views.augment import augment
from pipeline_lib.views.batch import make_view
from pipeline_lib.views.view import View

__all__ = ["View", "augment", "make_view"]
