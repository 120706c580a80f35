"""A plant in one file and without a line of Roskva's: a point car on a plane. Copy it, in any language.

`python point_car.py /run/roskva` drives it at 100 Hz until Ctrl-C. What the files say: ../how-to-plug-a-plant-in.md.
"""

import json
import math
import mmap
import struct
import sys
import time
import zlib
from pathlib import Path

HEAD = struct.Struct("<4sIQQII")  # magic, fingerprint, generation, mono_ns, crc32 of the payload, 0
HEIGHT, WIDTH, FRAMES, STEPS, DT_S = 4, 6, 2, 4, 0.01
STALE_NS, BRAKING_MPS2 = 500_000_000, 6.0
SPEC = {
    "name": "point car",
    "cameras": [{"name": "front", "height_px": HEIGHT, "width_px": WIDTH, "frames": FRAMES, "rate_hz": 10.0}],
    "ego_history": {"steps": STEPS, "dt_s": 0.1},
    "instructions": ["keep lane"],
    "action_space": {"type": "unicycle", "scale_acceleration_mps2": 2.0, "scale_curvature_per_m": 0.03}
    | {"max_acceleration_mps2": 3.0, "max_braking_mps2": BRAKING_MPS2, "max_curvature_per_m": 0.2},
}
ACTUATION = ("actuation", "tick,mono_ns,acceleration_mps2,curvature_per_m", "qqdd")
MEASURED = "x_m,y_m,yaw_rad,speed_mps,acceleration_mps2,curvature_per_m,odometer_m"
VEHICLE = ("vehicle", f"mono_ns,{MEASURED},safe_to_swap,takeovers", "qdddddddqq")
SEEN = f"qqq{STEPS * 16}s{FRAMES * HEIGHT * WIDTH * 3}s"
OBSERVATION = ("observation", "sequence,mono_ns,instruction,ego_history,frames", SEEN)


class Board:
    """A board that this program writes: the generation is odd while it does."""

    def __init__(self, run: Path, name: str, fields: str, codes: str) -> None:
        self.payload, self.generation = struct.Struct("<" + codes), 0
        part = run / f".{name}.part"
        fingerprint = zlib.crc32(f"{name}|{fields}|{codes}".encode())
        part.write_bytes(HEAD.pack(b"RSKB", fingerprint, 0, 0, 0, 0) + bytes(self.payload.size))
        with part.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        part.replace(run / f"{name}.board")

    def write(self, mono_ns: int, *values: object) -> None:
        """Publish one record."""
        payload = self.payload.pack(*values)
        struct.pack_into("<Q", self.memory, 8, self.generation + 1)
        self.memory[HEAD.size :] = payload
        struct.pack_into("<QI", self.memory, 16, mono_ns, zlib.crc32(payload))
        self.generation += 2
        struct.pack_into("<Q", self.memory, 8, self.generation)


def read(run: Path, name: str, fields: str, codes: str) -> tuple[float, ...] | None:
    """The newest whole record of a board that another program writes."""
    path, fingerprint = run / f"{name}.board", zlib.crc32(f"{name}|{fields}|{codes}".encode())
    data = path.read_bytes() if path.exists() else bytes(HEAD.size)
    magic, found, generation, _, crc, _ = HEAD.unpack_from(data)
    whole = magic == b"RSKB" and generation % 2 == 0 and generation and zlib.crc32(data[HEAD.size :]) == crc
    return struct.unpack_from("<" + codes, data, HEAD.size) if whole and found == fingerprint else None


class PointCar:
    """The car and its boards; call `step` every 10 ms."""

    def __init__(self, run: Path, speed_mps: float = 0.0) -> None:
        self.run, self.steps, self.way_m, self.bend_per_m = run, 0, 0.0, 0.0
        self.x_m, self.y_m, self.yaw_rad, self.speed_mps = 0.0, 0.0, 0.0, speed_mps
        (run / ".plant.part").write_text(json.dumps(SPEC))
        (run / ".plant.part").replace(run / "plant.json")
        self.vehicle, self.seen = Board(run, *VEHICLE), Board(run, *OBSERVATION)

    def step(self, now_ns: int) -> None:
        """Obey, move, show; without a fresh command that makes sense it brakes."""
        _, told_ns, acceleration, curvature = read(self.run, *ACTUATION) or (0, -STALE_NS, 0.0, 0.0)
        if abs(now_ns - told_ns) >= STALE_NS or not math.isfinite(acceleration + curvature):
            acceleration, curvature = -BRAKING_MPS2, self.bend_per_m
        self.bend_per_m = curvature
        self.speed_mps = max(0.0, self.speed_mps + acceleration * DT_S)  # it never rolls back
        self.way_m += self.speed_mps * DT_S
        self.yaw_rad += curvature * self.speed_mps * DT_S
        self.x_m += math.cos(self.yaw_rad) * self.speed_mps * DT_S
        self.y_m += math.sin(self.yaw_rad) * self.speed_mps * DT_S
        pose = (self.x_m, self.y_m, self.yaw_rad, self.speed_mps)
        self.vehicle.write(now_ns, now_ns, *pose, acceleration, curvature, self.way_m, 1, 0)
        if self.steps % 10 == 0:
            past = [(-self.speed_mps * 0.1 * k, 0.0, 0.0, self.speed_mps) for k in range(STEPS)][::-1]
            history = struct.pack(f"<{STEPS * 4}f", *(value for row in past for value in row))
            frames = bytes([self.steps % 256]) * (FRAMES * HEIGHT * WIDTH * 3)
            self.seen.write(now_ns, self.steps // 10 + 1, now_ns, 0, history, frames)
        self.steps += 1


if __name__ == "__main__":
    car = PointCar(Path(sys.argv[1]))
    while True:
        car.step(time.monotonic_ns())
        time.sleep(DT_S)
