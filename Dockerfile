# syntax=docker/dockerfile:1
# One image, whose commands are the parts: api, worker, beat, migrate, doctor. It runs as nobody in particular, writes
# to /tmp alone, and needs no shell, no capability and no compiler.
# Two builds from one commit are equal, layer by layer, where the builder sets the files' times as well: BuildKit by
# `rewrite-timestamp=true`, podman and buildah by `--timestamp`.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# Seconds since 1970 of what is built: whatever writes a time of its own writes this one.
ARG SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Without a pip of its own: what installs stays behind in this stage.
RUN ["python", "-m", "venv", "--without-pip", "/opt/postrider"]
COPY requirements.lock /tmp/
RUN ["python", "-m", "pip", "--python", "/opt/postrider/bin/python", "install", "--no-compile", "--only-binary", ":all:", "--require-hashes", "-r", "/tmp/requirements.lock"]
COPY app /srv/postrider/app
COPY worker /srv/postrider/worker
COPY migrations /srv/postrider/migrations
COPY LICENSE /srv/postrider/
# Whatever the umask of who checked it out: it is not root who reads it.
RUN ["chmod", "-R", "a+rX", "/srv/postrider"]
# Compiled here, since nothing can be written later; by content, so that equal sources give equal files.
RUN ["/opt/postrider/bin/python", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "/opt/postrider/lib", "/srv/postrider"]

FROM ${BASE}
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Postrider" \
      org.opencontainers.image.description="Webhooks as a service that a company runs itself" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/postrider/postrider" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# The base brings what installs packages; here nothing does. Celery takes a group without a name for a risk, and says so
# whenever it starts.
RUN rm -rf /usr/local/bin/pip* /usr/bin/pip* /usr/lib/python3/dist-packages/pip* \
    /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/* && \
    echo 'postrider:x:10001:' >> /etc/group && echo 'postrider:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=build /opt/postrider /opt/postrider
COPY --from=build /srv/postrider /srv/postrider
ENV PATH=/opt/postrider/bin:$PATH \
    PYTHONPATH=/srv/postrider \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    POSTRIDER_TELEMETRY__REVISION="${REVISION}"
WORKDIR /srv/postrider
USER 10001:10001
EXPOSE 8000
# A process that is asked to stop finishes what it has begun.
STOPSIGNAL SIGTERM
# It hands signals on, buries orphans, and tells a worker twice to end before its grace period is over.
ENTRYPOINT ["python", "-m", "app.cli.launch"]
CMD ["--help"]
