"""What one hostile model is, and what came of it."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
from typing import Any

Config = dict[str, Any]
Draw = random.Random


@dataclasses.dataclass(frozen=True)
class Case:
    """A hostile model.

    config: put beside the weights of a template (weights: its name) as a file of Keras `version`. text: where it is
    set, what stands in the place of the config as JSON. content: a whole file instead, of the ending `suffix`.
    computes: where it is set, the text of the one Lambda of the config, which TensorFlow can compute to compare.
    """

    config: Config | None = None
    weights: str = "bare.h5"
    version: str = "2.4.0"
    text: str | None = None
    content: bytes | None = None
    suffix: str = ".keras"
    computes: str = ""

    def to_json(self) -> str:
        fields = dataclasses.asdict(self)
        if self.content is not None:
            fields["content"] = base64.b64encode(self.content).decode()
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> Case:
        fields = json.loads(text)
        if fields["content"] is not None:
            fields["content"] = base64.b64decode(fields["content"])
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one case came to.

    kind: `rescued`, or the name of the error. seconds: of processor time of this process and those that it started;
    wall: by the clock. megabytes: above what this process held before, or that a process which it started held at most.
    fault: what it did that no case may do, or empty.
    """

    kind: str
    message: str
    seconds: float
    wall: float
    megabytes: float
    fault: str = ""
