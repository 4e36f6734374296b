"""How long rescuing a ResNet-50 from HDF5 takes, beside Keras loading the same net without a Lambda.

    python scripts/benchmark_rescue.py [--rounds N]

Both run in fresh processes, one after the other in each round, and each is timed as a whole, with the start of Python
and TensorFlow. Rescue reads and checks the file, rebuilds the model, writes it, and opens what it wrote.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_LOAD: Final = "import sys, keras; keras.models.load_model(sys.argv[1], compile=False)"
_RESCUE: Final = "import sys; from exporter.rescuing import rescue; rescue(sys.argv[1], sys.argv[2], overwrite=True)"
_READ: Final = "import sys; from exporter.rescuing import rescue; rescue(sys.argv[1])"


def write_models(folder: Path) -> None:
    """plain.h5 and lambda.h5: ResNet-50 with random weights, the second with a Lambda behind its input."""
    import keras

    keras.utils.set_random_seed(0)
    net = keras.applications.ResNet50(weights=None)
    scaled = keras.Input((224, 224, 3))
    odd = keras.Model(scaled, net(keras.layers.Lambda(lambda x: x * 2.0 - 1.0)(scaled)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.save(folder / "plain.h5")
        odd.save(folder / "lambda.h5")


def seconds(code: str, *arguments: Path) -> float:
    """Wall time of one fresh process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        times: dict[str, list[float]] = {
            "Keras loads the plain file": [],
            "rescue, in memory": [],
            "rescue, to a file": [],
        }
        for _ in range(given.rounds):
            times["Keras loads the plain file"].append(seconds(_LOAD, folder / "plain.h5"))
            times["rescue, in memory"].append(seconds(_READ, folder / "lambda.h5"))
            times["rescue, to a file"].append(seconds(_RESCUE, folder / "lambda.h5", folder / "new.keras"))
        base = times["Keras loads the plain file"]
        for what, each in times.items():
            ratios = [one / other for one, other in zip(each, base, strict=True)]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            print(f"{what:<28} {statistics.median(each):6.2f} s   ratio {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
