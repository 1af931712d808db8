"""What a GPU box has to show, part by part (docs/gpu.md): `profiler-service gpu-check --list`."""
