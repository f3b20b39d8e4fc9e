# Leukoscope in a container: one image for web, workers and clock. Settings come from the environment
# (docs/operations.md). Build: docker build -t leukoscope .
# With TensorFlow's GPU libraries for the gpu-worker: docker build --build-arg GPU=true -t leukoscope:gpu .

FROM node:22-bookworm-slim AS browser-libraries
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM python:3.12-slim-bookworm AS packages
ARG GPU=false
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.txt constraints.txt ./
RUN pip install --requirement requirements.txt --constraint constraints.txt \
    && if [ "$GPU" = true ]; then pip install "tensorflow[and-cuda]" --constraint constraints.txt; fi

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 leukoscope \
    && useradd --uid 10001 --gid leukoscope --no-create-home --home-dir /app --shell /usr/sbin/nologin leukoscope \
    && install -d -o leukoscope -g leukoscope -m 0750 /var/lib/leukoscope
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY . .
COPY --from=browser-libraries /build/node_modules ./node_modules
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    LEUKOSCOPE_VAR=/var/lib/leukoscope \
    LEUKOSCOPE_CACHE=/var/lib/leukoscope/work \
    HOST=0.0.0.0 \
    PORT=8000
RUN python -m webapp.vendor --copy-only && rm -rf node_modules
USER leukoscope
VOLUME /var/lib/leukoscope
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=6s --start-period=90s --retries=4 CMD ["python", "-m", "webapp.healthcheck"]
ENTRYPOINT ["/app/docker/entrypoint.sh"]
CMD ["web"]
