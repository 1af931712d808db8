# The profiling service for NVIDIA boxes, on the vendor's TensorRT image (CUDA and TensorRT with its Python bindings are in it):
#   docker build -f docker/gpu.Dockerfile -t opclock-service-gpu .
#   docker run -v opclock:/data --rm opclock-service-gpu token create me --role profile     # prints the token that clients send
#   docker run --gpus all -v opclock:/data -p 127.0.0.1:8000:8000 --cap-drop ALL --security-opt no-new-privileges \
#       --read-only --tmpfs /tmp:exec,size=1g --pids-limit 512 --memory 16g opclock-service-gpu
# On the vendor's PyTorch image, which brings torch for CUDA, the backends that are torch's work as well. Its torch must be 2.10
# or newer, and no pre-release of 2.10:
#   docker build -f docker/gpu.Dockerfile --build-arg BASE_IMAGE=nvcr.io/nvidia/pytorch:TAG -t opclock-service-gpu .
# Pick the tag that fits the driver; the digest of the image does not change a target, the library versions in it do.
ARG BASE_IMAGE=nvcr.io/nvidia/tensorrt:25.10-py3
FROM ${BASE_IMAGE}
# The image is one environment, made for this service alone: its distribution's pip may be used.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PYTHONUNBUFFERED=1
RUN python3 -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; take a later image')" \
    && python3 -c "import tensorrt; print('TensorRT', tensorrt.__version__)"
# What the image has of these must stay; pip adds only what is missing.
RUN python3 -m pip list --format=freeze > /tmp/image.txt && { grep -iE '^(numpy|torch)==' /tmp/image.txt > /tmp/keep.txt || true; }
# Where the image has no torch, a CPU build is enough: it makes the graphs, and TensorRT runs them.
# --build-arg TORCH_INDEX=URL takes it from another index, such as PyTorch's own for CPU builds, a tenth of the size.
ARG TORCH_INDEX
RUN grep -qi '^torch==' /tmp/keep.txt \
    || python3 -m pip install --no-cache-dir --constraint /tmp/keep.txt ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} torch
WORKDIR /src
COPY pyproject.toml README.md ./
COPY models models
COPY profiler_service profiler_service
COPY nas_client nas_client
RUN python3 -m pip install --no-cache-dir --constraint /tmp/keep.txt '.[service,cuda,cuda-core]' \
    && useradd --create-home --uid 10001 opclock && install --directory --owner opclock /data
# OPCLOCK_BACKEND=torch measures torch's own kernels instead, where the image has torch for CUDA.
ENV OPCLOCK_DATABASE=/data/opclock.sqlite OPCLOCK_BACKEND=tensorrt OPCLOCK_DEVICE=cuda HOME=/data
USER opclock
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["profiler-service"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
