"""Where things are below the root of an emulated Thor, as the hardware has them.

Owns: the paths. Must not know: what stands in the files.
"""

BOOT_ID = "proc/sys/kernel/random/boot_id"
GPU = "sys/class/devfreq/gpu-gpc-0"
HWMON = "sys/class/hwmon"
THERMAL = "sys/class/thermal"
CPU = "sys/devices/system/cpu"
MODE_STATUS = "var/lib/nvpmodel/status"
MODE_PENDING = "var/lib/nvpmodel/pending"
GPU_MASK = "opt/nvidia/l4t-gpusetup/gpu_pg_mask"
CONF = "etc/nvpmodel/nvpmodel_p3834_0008.conf"
NVPMODEL = "usr/sbin/nvpmodel"
TEGRA_RELEASE = "etc/nv_tegra_release"
FAULTS = "run/roskva-emulator/faults"
"""One file for each fault in force, named after it; no part of the hardware."""
