"""Serves one opened model on standard input and output: `serve.py LOADER MODEL OPTIONS`.

LOADER is a Python file with `load(path, options) -> (run, facts)`, MODEL the artifact, OPTIONS a JSON object.

One JSON object a line, either way. First comes {"facts": {...}} or {"error": "..."}. A request is {"inputs": {name:
file}, "folder": path}, its answer {"outputs": {name: file}} or {"error": "..."}; the files are `.npy`. The end of
standard input is the end of the process, and so is that of its parent.
"""

import importlib.util
import json
import os
import sys
import threading
import time

# The pipe to the parent is ours alone: whatever a library prints goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np  # noqa: E402


def answer(**content: object) -> None:
    print(json.dumps(content), file=answers, flush=True)


def described(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def watch(parent: int) -> None:
    """End with the parent, also in the middle of a call that never ends: standard input is not read then."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def main(loader: str, model: str, options: str) -> None:
    threading.Thread(target=watch, args=(os.getppid(),), name="watches the parent", daemon=True).start()
    spec = importlib.util.spec_from_file_location("loader", loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        run, facts = module.load(model, json.loads(options))
    except Exception as error:  # each library has classes of its own for what it cannot open
        answer(error=described(error))
        return
    answer(facts=facts)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            inputs = {name: np.load(file, allow_pickle=False) for name, file in request["inputs"].items()}
            files = {}
            for index, (name, value) in enumerate(run(inputs).items()):
                files[name] = os.path.join(request["folder"], f"out{index}.npy")
                np.save(files[name], np.asarray(value), allow_pickle=False)
        except Exception as error:
            answer(error=described(error))
        else:
            answer(outputs=files)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Nobody needs the libraries to be taken down in order, which takes TensorFlow a second and an emulated core longer.
    sys.stderr.flush()
    os._exit(0)
