# The teacher service: a new Python, JAX or ONNX Runtime, no TensorFlow.
#
#   docker build -f deploy/docker/teacher.Dockerfile -t rrl-teacher .
#   docker build -f deploy/docker/teacher.Dockerfile -t rrl-teacher:cuda \
#     --build-arg LOCK=locks/images/teacher-cuda.lock .

FROM python:3.12-slim-bookworm AS packages
# strip; the stage is thrown away. Debian keeps only its newest version.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
ARG LOCK=locks/images/teacher.lock
COPY ${LOCK} /tmp/packages.lock
RUN python -m venv --without-pip /opt/rrl \
    && pip --python /opt/rrl/bin/python install --no-cache-dir --no-compile --no-deps --only-binary :all: \
       --require-hashes -r /tmp/packages.lock
COPY deploy/docker/shrink.sh /tmp/
# Compiles what is imported, and nothing else; a missing module fails here.
RUN sh /tmp/shrink.sh /opt/rrl && /opt/rrl/bin/python -c "import flax.linen, google_crc32c, grpc.aio, grpc_health.v1.health, \
grpc_reflection.v1alpha.reflection, jax.numpy, onnx, onnxruntime, optax, prometheus_client, \
rich.live, safetensors.numpy, tyro, uvloop, waitress.server; jax.jit(jax.numpy.tanh)(1.0)"

FROM packages AS code
COPY locks/images/build.lock /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/build.lock
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rrl_client rrl_client
COPY rrl_agents rrl_agents
COPY services services
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation -w /tmp/wheel . \
    && pip --python /opt/rrl/bin/python install --no-cache-dir --no-deps --no-index \
       --target /opt/code /tmp/wheel/*.whl

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="rrl teacher" \
      org.opencontainers.image.description="Serves the action values of frozen policies over gRPC" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.12-slim-bookworm"
# Nothing is installed in a running container.
RUN python -m pip uninstall -y -q --root-user-action=ignore pip setuptools wheel 2>/dev/null || true
COPY --from=packages /opt/rrl /opt/rrl
COPY --from=code /opt/code /opt/code
ENV PATH=/opt/code/bin:/opt/rrl/bin:$PATH \
    PYTHONPATH=/opt/code \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    # The root file system is read-only; libraries write to the tmpfs.
    HOME=/tmp \
    RRL_CACHE=/var/lib/rrl
RUN mkdir /var/lib/rrl && chown 10001:10001 /var/lib/rrl
USER 10001:10001
WORKDIR /tmp
EXPOSE 50051 9101
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=6 \
  CMD ["rrl", "health", "127.0.0.1:50051"]
ENTRYPOINT ["rrl"]
CMD ["teacher", "serve", "--checkpoint", "Pong/dqn-bundled", "--host", "0.0.0.0"]
