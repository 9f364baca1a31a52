# The base can be any image with Python 3.11 or newer; uv comes from the package index.
ARG PYTHON_IMAGE=python:3.14-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 \
    UV_PROJECT_ENVIRONMENT=/app/.venv UV_CACHE_DIR=/uv/cache
RUN python -m venv /uv && /uv/bin/pip install --no-cache-dir uv==0.13.8
WORKDIR /app
RUN --mount=type=cache,target=/uv/cache \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    /uv/bin/uv sync --locked --no-dev --no-install-project --extra uvloop
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY service ./service
COPY migrations ./migrations
RUN --mount=type=cache,target=/uv/cache \
    /uv/bin/uv sync --locked --no-dev --no-editable --extra uvloop

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Perdure" \
      org.opencontainers.image.description="Durable background tasks on PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home --home-dir /home/perdure perdure
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH HOME=/home/perdure PYTHONUNBUFFERED=1
WORKDIR /srv
USER 10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-m", "perdure.cli.health"]
ENTRYPOINT ["perdure"]
CMD ["worker"]
