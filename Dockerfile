# The gateway, and nothing that it doesn't need. docs/deployment.md explains each line.
ARG PYTHON=3.11-slim-bookworm
ARG RUST=1.95-slim-bookworm

# ---- tools: what builds, locked
FROM python:${PYTHON} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1
WORKDIR /src

COPY requirements/build.txt requirements/engine.txt requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --no-deps --only-binary=:all: \
        --requirement requirements/build.txt --requirement requirements/engine.txt

# ---- engine: the native data plane's wheel, for every Python from 3.11 on, so that none is needed here
FROM rust:${RUST} AS engine
WORKDIR /src/engine

COPY --from=tools /opt/build/bin/maturin /usr/local/bin/maturin
COPY engine/Cargo.toml engine/Cargo.lock engine/LICENSES.md engine/pyproject.toml ./
COPY engine/src src
RUN maturin build --release --locked --out /wheels

# ---- build: the server's locked dependencies, and both of Turnout's own wheels
FROM tools AS build
COPY requirements/server.txt requirements/
RUN python -m venv --without-pip /opt/turnout \
    && /opt/build/bin/pip --python /opt/turnout/bin/python install \
        --require-hashes --no-deps --only-binary=:all: --requirement requirements/server.txt

COPY pyproject.toml README.md LICENSE ./
COPY clients/python/turnout clients/python/turnout
COPY server/turnout_server server/turnout_server
COPY --from=engine /wheels /wheels
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/turnout/bin/python install --no-deps --no-index /wheels/*.whl \
    && /opt/turnout/bin/python -m compileall -q /opt/turnout/lib

# ---- run
FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Turnout" \
      org.opencontainers.image.description="A gRPC model-serving gateway for ONNX models" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/turnout /opt/turnout
ENV PATH=/opt/turnout/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER 10001:10001
VOLUME ["/models"]
EXPOSE 8001 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["turnout", "health", "--target", "127.0.0.1:8001"]
ENTRYPOINT ["turnout"]
CMD ["serve", "--store", "/models", "--listen", "0.0.0.0:8001", "--metrics", "0.0.0.0:9464"]
