"""`python -m scripts.gpu_check`, the command's name before it moved: helpers that look after bare GPU boxes still call it."""

from profiler_service.gpu_check.__main__ import main

if __name__ == "__main__":
    main()
