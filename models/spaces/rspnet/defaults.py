"""What an RSPNet search and training begin with.

Source: RSPNet: batches of 6 crops of 512×1024 (printed as "512×102"), 300 epochs, SGD with momentum 0.95 and weight decay 5e-4;
of the architecture SGD with learning rate 5e-3 and weight decay 1e-4; 40 epochs of the macro structure (Fig. 9). It states no
learning rate of the weights, and nothing of the retraining: these are HRNet's for Cityscapes.
"""

from __future__ import annotations

from models.spaces.search_defaults import (
    ArchitectureOptimizer,
    LatencySettings,
    LossConfig,
    OptimizerConfig,
    PretrainSettings,
    SearchDefaults,
    SearchOptimizer,
    SearchSettings,
    SecondSearchSettings,
    TrainingDefaults,
)

_CROP = (512, 1024)
_WEIGHTS = SearchOptimizer(lr=0.01, momentum=0.95, weight_decay=5e-4)
_ARCHITECTURE = ArchitectureOptimizer(method="sgd", lr=5e-3, momentum=0.0, weight_decay=1e-4)

SEARCH_DEFAULTS = SearchDefaults(
    pretrain=PretrainSettings(epochs=0, batch_size=6, crop=_CROP),
    search=SearchSettings(
        epochs=300, batch_size=6, crop=_CROP, searches=("alpha",), optimizer=_WEIGHTS, architecture=_ARCHITECTURE
    ),
    second=SecondSearchSettings(
        epochs=40, batch_size=6, crop=_CROP, searches=("beta",), optimizer=_WEIGHTS, architecture=_ARCHITECTURE
    ),
    latency=LatencySettings(weights="solved"),
    image_scale=1.0,
    training=TrainingDefaults(
        epochs=484,
        batch_size=12,
        crop=_CROP,
        optimizer=OptimizerConfig(lr=0.01, momentum=0.9, weight_decay=5e-4),
        losses=LossConfig(auxiliary=0.0),
    ),
)
