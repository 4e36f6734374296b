"""The other side of tensorflow_process.py: started as a script, it imports TensorFlow and NumPy and nothing else."""

import os
import re
import sys

# The pipe to the parent is ours alone: whatever a library prints goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def main(path: str) -> None:
    signature = tf.saved_model.load(path).signatures["serving_default"]
    # TensorFlow makes Python identifiers of names ("my-image" is called as my_image); outputs keep theirs.
    called = {re.sub(r"\W", "_", name): name for name in signature.structured_input_signature[1]}
    print("loaded", file=answers, flush=True)
    for line in sys.stdin:
        request, answer = line.rstrip("\n").split("\t")
        with np.load(request, allow_pickle=False) as data:
            inputs = {str(name): data[f"t{i}"] for i, name in enumerate(data["names"])}
        feeds = {called[re.sub(r"\W", "_", name)]: tf.constant(value) for name, value in inputs.items()}
        outputs = signature(**feeds)
        arrays = {f"t{i}": value.numpy() for i, value in enumerate(outputs.values())}
        np.savez(answer, names=np.array(list(outputs)), **arrays)
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
