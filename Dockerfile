# The image of syncd: nothing but Python, the locked packages and libodbc with FreeTDS. No compiler,
# no pip, no shell is needed at run time; files belong to root and the process to nobody.
#
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) -t syncd .
#
# Microsoft's ODBC driver is not part of an image that we publish: its licence lets an operator
# install it. For an image of your own add --build-arg WITH_MSODBC=yes, which takes the hashed wheel.

# Python 3.11.16, the same in both stages; `docker buildx imagetools inspect
# python:3.11-slim-bookworm` tells a newer digest.
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1
WORKDIR /build
COPY requirements/run.lock requirements/msodbc.lock ./
ARG WITH_MSODBC=no
RUN python -m venv /opt/syncd \
    && /opt/syncd/bin/pip install --require-hashes --no-deps --only-binary=:all: -r run.lock \
    && if [ "${WITH_MSODBC}" = yes ]; then \
         /opt/syncd/bin/pip install --require-hashes --no-deps --only-binary=:all: -r msodbc.lock; \
       fi
COPY syncd /opt/syncd/lib/python3.11/site-packages/syncd
COPY schemas /opt/syncd/lib/python3.11/site-packages/syncd/_schemas
# Of the cloud's services syncd speaks to these; the descriptions of the others are 20 MB. All is
# compiled once, here: the file system is read-only later.
RUN find /opt/syncd/lib/python3.11/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
         ! -name dynamodb ! -name dynamodbstreams ! -name kms ! -name s3 ! -name secretsmanager \
         ! -name sns ! -name sqs ! -name sso ! -name sso-oidc ! -name sts -exec rm -r {} + \
    && /opt/syncd/bin/pip uninstall --yes pip setuptools \
    && python -m compileall -q /opt/syncd/lib/python3.11/site-packages

FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="syncd" \
      org.opencontainers.image.description="Keeps a new database in step with a legacy one" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${COMMIT}"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libodbc2=2.3.11-* tdsodbc=1.3.17+ds-* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 syncd \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent \
         --shell /usr/sbin/nologin syncd
COPY --from=build /opt/syncd /opt/syncd
COPY config /usr/share/syncd/config
ENV PATH=/opt/syncd/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    SYNCD_COMMIT=${COMMIT} \
    TZ=UTC
USER 65532:65532
WORKDIR /etc/syncd
EXPOSE 8080
# For engines that look at it; Kubernetes asks its own probes.
HEALTHCHECK --interval=30s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/liveness', timeout=3)"]
ENTRYPOINT ["python", "-m", "syncd"]
CMD ["serve", "--log-format", "json", "--config", "/etc/syncd/pipelines/pipeline.yaml"]
