"""What a GPU box has to show, part by part (docs/gpu.md): `python -m scripts.gpu_check --list`."""
