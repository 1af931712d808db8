"""One process of a training; `torchrun` starts it. Argument: a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from nas_client.runs.processes import Processes
from nas_client.train.run import train
from tests.support.trainings import small_architecture, small_config

torch.set_num_threads(1)
with Processes() as processes:
    assert processes.several
    train(small_architecture(), small_config(label_stride=1), Path(sys.argv[1]), processes=processes)
