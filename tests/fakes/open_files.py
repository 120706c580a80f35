"""Which files this process holds open.

Owns: looking. Threads of other tests may open what they like meanwhile: only what lies below a folder is told.
"""

from pathlib import Path


def open_below(folder: Path) -> list[str]:
    """Every descriptor's file below `folder`, the folder included, as often as it is open."""
    root, found = str(folder.resolve()), []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed since it was listed
        if target == root or target.startswith(f"{root}/"):
            found.append(target)
    return sorted(found)
