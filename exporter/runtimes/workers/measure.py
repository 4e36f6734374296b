"""Times one opened model, on request: `measure.py LOADER MODEL OPTIONS`, spoken to as `serve.py` is.

LOADER is a Python file with `load(path, options) -> (invoke, facts)`; `invoke()` runs one inference on inputs that the
loader has set. A request is {"inferences": N}, its answer {"timing": {"wall_ns": [N], "cpu_ns": sum over the N and over
all threads of this process, "peak_bytes": largest resident memory since before the model was opened}}.
"""

import importlib.util
import json
import os
import resource
import sys
import time

# The pipe to the parent is ours alone: whatever a library prints goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**content: object) -> None:
    print(json.dumps(content), file=answers, flush=True)


def memory(field: str) -> int:
    """Resident memory in bytes: `VmRSS` now, `VmHWM` at its highest. Without /proc the highest stands for both."""
    try:
        with open("/proc/self/status") as stream:
            lines = dict(line.split(":", 1) for line in stream)
        return int(lines[field].split()[0]) * 1024
    except (OSError, KeyError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """The imports' own peak must not hide the model's; where the system does not allow that, it does."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError:
        return


def main(loader: str, model: str, options: str) -> None:
    spec = importlib.util.spec_from_file_location("loader", loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    forget_peak()
    before = memory("VmRSS")
    try:
        invoke, facts = module.load(model, json.loads(options))
    except Exception as error:  # each library has classes of its own for what it cannot open
        answer(error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return
    answer(facts={"empty_bytes": before, **facts})
    for line in sys.stdin:
        count = json.loads(line)["inferences"]
        wall = []
        cpu = time.process_time_ns()
        for _ in range(count):
            start = time.perf_counter_ns()
            invoke()
            wall.append(time.perf_counter_ns() - start)
        cpu = time.process_time_ns() - cpu
        answer(timing={"wall_ns": wall, "cpu_ns": cpu, "peak_bytes": memory("VmHWM")})


if __name__ == "__main__":
    main(*sys.argv[1:])
