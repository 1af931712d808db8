"""Bounds on numbers that come from outside. Generous for any segmentation network, small enough to refuse nonsense."""

from __future__ import annotations

MAX_CHANNELS = 16_384
MAX_SIDE = 16_384
MAX_BATCH = 256
MAX_CLASSES = 4_096
MAX_LAYERS = 128
MAX_BRANCHES = 8
MAX_CELLS = 256
MAX_PARAMETERS = 64
MAX_GENOTYPE_DEPTH = 8
MAX_GENOTYPE_ITEMS = 8_192
MAX_GENOTYPE_TEXT = 64
MAX_WORKLOADS_PER_JOB = 20_000
MAX_WORKLOADS_PER_LOOKUP = 20_000
MAX_TABLE_ENTRIES = 200_000
MAX_PRIORITY = 9
MAX_REQUEST_BYTES = 32 * 2**20

MAX_TABLE_BYTES = 512 * 2**20
"""A table in transit, and the columns of a compressed table file, both decompressed. The largest table of operators takes a
fifth of it."""

MAX_WORKLOAD_BYTES = 4 * 2**30
"""Activations and weights of one workload, estimated; a build would not survive more on a small box."""

MAX_WORKLOAD_MACS = 2 * 10**13
"""Multiply-adds of one workload; about ten minutes on one CPU core."""

MAX_JOB_MACS = 10**15
"""Multiply-adds of all workloads of one job; one run of each takes about nine hours on one CPU core.
FasterSeg's grid at 1024×2048 takes a four-hundredth of it."""

MAX_COUNT = 2**53 - 1
"""Counts and sizes: what every reader of JSON still holds exactly."""

MAX_MESSAGE = 4_000
"""Maximal characters of a failure's message."""
