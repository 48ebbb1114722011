"""Random views of images, made for a whole batch on its device, each sample with parameters of its own."""

from pipeline_lib.views.batch import make_view

__all__ = ["make_view"]
