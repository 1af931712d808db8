"""All experiments, in the order of a report."""

from __future__ import annotations

from typing import Any

from nas_client.experiments.ablation_artifacts import ABLATION
from nas_client.experiments.attention_artifacts import ATTENTION
from nas_client.experiments.collapse_artifacts import COLLAPSE
from nas_client.experiments.experiment import Experiment
from nas_client.experiments.methods_artifacts import METHODS
from nas_client.experiments.random_artifacts import RANDOM
from nas_client.experiments.reference_artifacts import REFERENCES

EXPERIMENTS: tuple[Experiment[Any], ...] = (COLLAPSE, RANDOM, METHODS, REFERENCES, ATTENTION, ABLATION)
