# A training and serving container: docker run IMAGE train, docker run IMAGE serve.

FROM rust:1.95-slim-bookworm AS build
# A C compiler for the few dependencies in C.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
# The Vulkan loader finds the driver of a GPU, which the container runtime mounts; without one it is not used. For
# NVIDIA's the runtime must be asked for graphics, too: that is what the variable says.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libvulkan1 \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
COPY --from=build /src/target/release/ipsight /usr/local/bin/ipsight
# SageMaker mounts /opt/ml for root and runs as the image's user, so that is root.
EXPOSE 8080
ENTRYPOINT ["ipsight", "sagemaker"]
