# Replay, learner, actors, evaluator, importer: Python 3.11, which Reverb and TensorFlow support.
#
#   docker build -f deploy/docker/training.Dockerfile -t rrl-training .
#   docker build -f deploy/docker/training.Dockerfile -t rrl-training:cuda \
#     --build-arg LOCK=locks/images/training-cuda.lock .

FROM python:3.11-slim-bookworm AS packages
# strip; the stage is thrown away. Debian keeps only its newest version.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
ARG LOCK=locks/images/training.lock
COPY ${LOCK} /tmp/packages.lock
RUN python -m venv --without-pip /opt/rrl \
    && pip --python /opt/rrl/bin/python install --no-cache-dir --no-compile --no-deps \
       --only-binary :all: --require-hashes -r /tmp/packages.lock
COPY locks/images/build.lock deploy/local/launchpad.sh deploy/docker/shrink.sh /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/build.lock \
    && bash /tmp/launchpad.sh python /tmp/launchpad \
    && pip --python /opt/rrl/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
       /tmp/launchpad/*.whl
# Compiles what is imported, and nothing else; a missing module fails here.
RUN sh /tmp/shrink.sh /opt/rrl && /opt/rrl/bin/python -c "import reverb, tensorflow, ale_py, chex, flax.linen, gin, \
grpc.aio, grpc_health.v1.health, gymnasium.vector, h5py, imageio, jax.numpy, markdown_it, matplotlib.figure, \
minatar, onnx, onnxruntime, optax, orbax.checkpoint, prometheus_client, rich.live, \
safetensors.numpy, tensorboard.summary.writer.record_writer, tyro, uvloop, waitress.server; \
jax.jit(jax.numpy.tanh)(1.0)"

FROM packages AS code
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rrl_client rrl_client
COPY rrl_agents rrl_agents
COPY services services
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation -w /tmp/wheel . \
    && pip --python /opt/rrl/bin/python install --no-cache-dir --no-deps --no-index \
       --target /opt/code /tmp/wheel/*.whl \
    && PYTHONPATH=/opt/code /opt/rrl/bin/python -c "from services.launcher.launchpad_without_courier import launchpad"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="rrl training" \
      org.opencontainers.image.description="Replay, learner, actors and evaluator of a run" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm"
RUN python -m pip uninstall -y -q pip setuptools wheel
COPY --from=packages /opt/rrl /opt/rrl
COPY --from=code /opt/code /opt/code
ENV PATH=/opt/code/bin:/opt/rrl/bin:$PATH \
    PYTHONPATH=/opt/code \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    RRL_CACHE=/var/lib/rrl
# A new volume takes its owner from these folders.
RUN mkdir -p /var/lib/rrl /runs/run/checkpoints /runs/replay && chown -R 10001:10001 /var/lib/rrl /runs
USER 10001:10001
WORKDIR /tmp
# Each role has its own ports; compose and Kubernetes define its health check.
HEALTHCHECK NONE
ENTRYPOINT ["rrl"]
CMD ["--help"]
