# A worker in a container, with what runs the pipeline and none of the developers' tools: docs/install.md.
FROM python:3.11-slim
# Git is for the worktrees of nightly runs and sweeps.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
# `utility` brings nvidia-smi, by which GPUs are found.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility PIP_NO_CACHE_DIR=1
COPY requirements.lock /tmp/
RUN pip install --require-hashes --requirement /tmp/requirements.lock
RUN useradd --create-home graftline && install --directory --owner graftline /graftline
WORKDIR /graftline
COPY --chown=graftline . .
RUN pip install --no-deps --no-build-isolation --editable .
USER graftline
CMD ["graftline", "worker"]
