"""From images to features, batch by batch."""

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.core.progress import track
from pipeline_lib.encoders.encoder import Encoder


def to_tensor(images_NHWC: np.ndarray) -> Tensor:
    """Return uint8 images ``[N, H, W, C]`` as a tensor ``[N, C, H, W]``."""
    return torch.from_numpy(np.array(images_NHWC)).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def extract(encoder: Encoder, images_NHWC: np.ndarray, batch_size: int, device: torch.device, label: str) -> np.ndarray:
    """Return features float32 ``[N, D]`` of uint8 images, with the encoder in evaluation mode."""
    encoder.eval().to(device)
    starts = range(0, len(images_NHWC), batch_size)
    batches = (images_NHWC[start : start + batch_size] for start in starts)
    features = [
        encoder(encoder.normalise(to_tensor(batch).to(device))).float().cpu().numpy()
        for batch in track(batches, label, len(starts))
    ]
    return np.concatenate(features)
