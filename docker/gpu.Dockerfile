# The profiling service for NVIDIA boxes, on the vendor's PyTorch image (CUDA, torch for CUDA and TensorRT are in it):
#   docker build -f docker/gpu.Dockerfile -t opclock-service-gpu .
#   docker run --gpus all -v opclock:/data -p 127.0.0.1:8000:8000 opclock-service-gpu
# Pick the tag that fits the driver; the digest of the image does not change a target, the library versions in it do.
ARG BASE_IMAGE=nvcr.io/nvidia/pytorch:25.10-py3
FROM ${BASE_IMAGE}
WORKDIR /src
COPY pyproject.toml README.md ./
COPY models models
COPY profiler_service profiler_service
COPY nas_client nas_client
# The image's own torch must stay: constrain it to what is there, and let pip add only what is missing.
RUN python -c "from importlib.metadata import version; print('torch==' + version('torch'))" > /tmp/keep.txt \
    && pip install --no-cache-dir --constraint /tmp/keep.txt '.[service,cuda,cuda-core]' \
    && useradd --create-home --uid 10001 opclock && install --directory --owner opclock /data
# TensorRT comes with the image. OPCLOCK_BACKEND=torch with OPCLOCK_DEVICE=cuda measures torch's own kernels instead.
ENV OPCLOCK_DATABASE=/data/opclock.sqlite OPCLOCK_BACKEND=tensorrt OPCLOCK_DEVICE=cuda PYTHONUNBUFFERED=1
USER opclock
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["profiler-service"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
