# Pinned by tag. A release pins the digest as well: python:3.12-slim-bookworm@sha256:<digest>
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1

# The environment that is shipped holds what the server imports, and no pip; what only builds it has its own.
RUN python -m venv --without-pip /opt/awsidecar && python -m venv /opt/build
WORKDIR /src

COPY requirements/build.txt requirements/run.txt requirements/
RUN /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/awsidecar/bin/python install --require-hashes --only-binary :all: \
        -r requirements/run.txt

COPY clients/python clients/python
COPY server server
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /dist clients/python server \
 && /opt/build/bin/pip --python /opt/awsidecar/bin/python install --no-index --no-deps /dist/*.whl


FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="AWSidecar" \
      org.opencontainers.image.description="A gRPC data-access sidecar for AWS" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY LICENSE /usr/share/doc/awsidecar/LICENSE
COPY --from=build /opt/awsidecar /opt/awsidecar

# A home that exists, since the SDK looks for ~/.aws; nothing is written there, so the root file system may be
# read-only.
ENV HOME=/tmp \
    PATH=/opt/awsidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# Numeric, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
WORKDIR /tmp

# gRPC; /metrics, /livez and /readyz. Both listen on loopback unless configured: containers of a pod share it.
EXPOSE 50051 9464

# SIGTERM drains. Health is asked by Kubernetes (gRPC or /readyz); elsewhere `awsidecar health` answers.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["awsidecar", "health"]

ENTRYPOINT ["awsidecar"]
CMD ["serve"]
