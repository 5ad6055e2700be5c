# The image of the program for Compose: compose.yaml runs its worker, its preview and its migrations.
# Python 3.11 or later; Node and npm come with the packages.
ARG BASE_IMAGE=python:3.13-slim
FROM ${BASE_IMAGE}
# For networks with a private package index. If the network inspects TLS, put its certificates beside this file as ca.crt.
ARG PIP_INDEX_URL
RUN useradd --create-home --uid 1000 mobvibe && install -d -o mobvibe -g mobvibe /home/mobvibe/data
COPY pyproject.toml README.md compose.yaml ca.cr[t] /src/
COPY app /src/app
COPY worker /src/worker
COPY migrations /src/migrations
RUN if [ -s /src/ca.crt ]; then export PIP_CERT=/src/ca.crt; fi \
 && python3 -m venv /opt/mobvibe && /opt/mobvibe/bin/pip install --no-cache-dir /src && rm -rf /src
ENV PATH=/opt/mobvibe/bin:/usr/local/bin:/usr/bin:/bin MOBVIBE_HOME=/home/mobvibe/data
USER mobvibe
WORKDIR /home/mobvibe
ENTRYPOINT ["mobvibe-tui"]
CMD ["worker"]
