# An image with the packages, for the CPU by default:
#     docker build --tag darkroom .
#     docker run --rm --volume "$PWD":/darkroom darkroom
# With CUDA:
#     docker build --build-arg KIND=CUDA --tag darkroom-cuda .
#     docker run --rm --gpus all --volume "$PWD":/darkroom darkroom-cuda
# The mounted clone keeps results and history. Without it the image runs the code that it was built from. On Linux,
# --user "$(id -u):$(id -g)" --env HOME=/tmp makes the results yours instead of root's.
FROM python:3.12.12-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory '*'

# CPU or CUDA; setup, or setup-dev for the tests as well.
ARG KIND=CPU
ARG TARGET=setup

WORKDIR /darkroom
# These alone first: other changes of the code keep the layer with the packages.
COPY Makefile pyproject.toml requirements.txt requirements-dev.txt ./
COPY tools/install.py tools/install.py
RUN PIP_NO_CACHE_DIR=1 make "${TARGET}" "${KIND}=1" VENV=/opt/venv
# MAKEFLAGS: make in a container uses these packages too.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH MAKEFLAGS=VENV=/opt/venv DVC_NO_ANALYTICS=1

COPY . .
CMD ["dvc", "repro"]
