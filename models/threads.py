"""How many threads numeric libraries may start in a child process.

Owns: the variables that say so. Must not know: which child, which library's work is whose.
"""

from collections.abc import Mapping

_ONE = {"OPENBLAS_NUM_THREADS": "1"}
"""NumPy's products here are small. Spread over all cores, the threads of several processes spin against each other and
against the loop: on two cores, two collectors of training samples made 44 samples a second each, and 156 with this."""


def single_threaded(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with one thread for NumPy's products, unless it says otherwise itself."""
    return {**_ONE, **environment}
