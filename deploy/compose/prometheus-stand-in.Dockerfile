# Debian's Prometheus instead of the official image, for machines that reach no registry:
# deploy/compose/check.py builds it and names it in RRL_PROMETHEUS_IMAGE.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /prometheus && chown 65534:65534 /prometheus
USER 65534:65534
WORKDIR /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
