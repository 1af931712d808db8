"""What a candidate costs within a supernet, at the sizes of the experiments' preset for CPUs."""

from __future__ import annotations

import statistics
import time
from itertools import islice

import numpy as np
import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.supernets.base import Mixture
from nas_client.data.loading import evaluation_batches
from nas_client.data.transforms import EvaluationTransform
from nas_client.experiments.collapse import PRESETS
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.learner import Learner
from nas_client.search.selection_images import selection_split
from nas_client.search.setup import SearchData
from nas_client.search.supernet_evaluation import evaluate_supernet
from nas_client.selection.scoring import SupernetScorer
from tests.support.searches import small_table

SPACE = create_space(
    SpaceSpec(name="fasterseg", input_size=(256, 512), parameters={"layers": 6, "base_channels": 3, "widths": (4, 8, 12)})
)
CANDIDATES, SLOW = 10, 3
LEAST_RATIO = 1.5
"""Times as fast as an evaluation of the supernet in which all other operators have probability 0."""


@pytest.mark.benchmark
def test_a_candidate_is_evaluated_alone() -> None:
    torch.set_num_threads(1)
    settings = {**PRESETS["cpu"], "selection": {"images": 60}, "check_data": False}
    config, processes = SearchConfig.parse(settings), Processes()
    learner = Learner(config, SPACE, small_table(SPACE.spec), processes)
    data = SearchData.open(config, SPACE, processes)
    trained_on, selection = selection_split(len(data.train), config)
    rng = np.random.default_rng(0)
    networks = [SPACE.random_choices(rng) for _ in range(CANDIDATES)]
    pretrain, count = config.pretrain, config.evaluation.statistics_batches
    batches = list(islice(data.training(trained_on, epoch=0, batch_size=pretrain.batch_size, crop=pretrain.crop), count))
    images = list(evaluation_batches(data.train, EvaluationTransform(1.0), batch_size=8, indices=selection))
    slow_s, alone_s = [], []
    for choices in networks[:SLOW]:
        mixture = Mixture(*(getattr(Mixture.single(choices, SPACE.row_counts), name) for name in ("alpha", "beta", "widths")))
        started = time.perf_counter()
        evaluate_supernet(
            learner.passes, mixture, "student", statistics=batches, validation=images, classes=19, processes=processes
        )
        slow_s.append(time.perf_counter() - started)
    scorer = SupernetScorer(learner.passes, SPACE, "student", data, trained_on, selection)
    for choices in networks:
        started = time.perf_counter()
        scorer(choices)
        alone_s.append(time.perf_counter() - started)
    slow, alone = statistics.median(slow_s), statistics.median(alone_s)
    print(
        f"\na candidate in the supernet, {len(selection)} images of 64×128, one thread: {1e3 * alone:.0f} ms, 500 of them "
        f"{500 * alone:.0f} s; as a mixture {1e3 * slow:.0f} ms, ratio {slow / alone:.1f} (at least {LEAST_RATIO})"
    )
    assert slow / alone >= LEAST_RATIO
