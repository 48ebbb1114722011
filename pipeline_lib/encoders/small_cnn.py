"""A convolutional network for images of about 28 px that trains in a minute on two CPU cores."""

from torch import nn


def small_cnn(channels: int, size: int) -> nn.Module:
    """Return a network from ``[B, channels, H, W]`` to ``[B, 128]``, about 2 million products at 28 px.

    Three convolutions with pooling between them, and a layer over a 3x3 map, which keeps where things are; batch
    normalisation in every layer is what AdaBN adapts. Pooling comes first, so that a quarter of the map is left to
    normalise, which takes as long as the products. The weights are the same whatever the ``size``.
    """
    layers: list[nn.Module] = []
    for narrow, wide in [(channels, 16), (16, 32), (32, 64)]:
        layers += [nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    # At 28 px the map is 3x3 already, and the next layer only flattens it.
    layers += [nn.AdaptiveMaxPool2d(3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64 * 9, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(inplace=True))
