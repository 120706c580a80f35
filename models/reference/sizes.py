"""The reference network's sizes and fixed numbers, shared by training and export.

Owns: widths, depths and the constants baked into the graphs.
Must not know: PyTorch, ONNX.
"""

import math

import msgspec

PATCH_PX = 4
WAYPOINTS_PER_TOKEN = 8
EGO_SCALE = (0.1, 1.0, 5.0, 0.1)
TIME_FREQUENCIES = tuple(math.pi * 2.0**power / 4 for power in range(8))
MIN_TIME_LEFT = 0.05


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What fixes every shape in the checkpoint, given the contract."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    mlp_factor: int = 2
    patch_width: int = 64
    merge_width: int = 128
    cameras: int = 4
    height_px: int = 32
    width_px: int = 64

    @property
    def camera_tokens(self) -> int:
        """Tokens that one camera becomes."""
        return self.height_px * self.width_px // (16 * PATCH_PX * PATCH_PX)

    @property
    def prefix(self) -> int:
        """P: the cameras' tokens, the ego's and the instruction's."""
        return self.cameras * self.camera_tokens + 2
