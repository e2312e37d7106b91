# syntax=docker/dockerfile:1
# What puts the redirect into a pod's network: the same attaché, with nft and iptables. No context is needed.
#
#   docker buildx build --file deploy/images/net.Dockerfile --platform linux/amd64,linux/arm64 \
#     --build-arg ATTACHE=REGISTRY/attache:0.1.0 --tag attache-net:0.1.0 deploy/images
# checkov:skip=CKV_DOCKER_7: the tags are in the arguments, where checkov does not look
ARG ATTACHE=attache:0.1.0
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${ATTACHE} AS attache

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="attache-net" \
      org.opencontainers.image.description="Puts attaché's redirect into a pod's network namespace, and ends" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A version pinned here would be gone with Debian's next security update; the base's digest is what to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends iptables nftables \
    && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/*
COPY --from=attache /usr/local/bin/attache /usr/local/bin/attache
COPY --from=attache /usr/share/attache /usr/share/attache
# Rules are changed with NET_ADMIN, which without root would need file capabilities on nft, for everybody in the image.
# The pod drops all other capabilities, and the container ends before the agent begins.
# hadolint ignore=DL3002
USER 0:0
# It runs once and ends: what it did is its exit code.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/attache"]
CMD ["net", "apply"]
