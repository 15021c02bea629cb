# pgweir from source: docker build -t pgweir .
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked -p pgweir && cp target/release/pgweir /usr/local/bin/pgweir

FROM debian:bookworm-slim
RUN useradd --system --uid 6432 --no-create-home --shell /usr/sbin/nologin pgweir
COPY --from=build /usr/local/bin/pgweir /usr/local/bin/pgweir
USER pgweir
EXPOSE 6432 9632
# SIGTERM: open transactions may end, then it stops.
STOPSIGNAL SIGTERM
ENTRYPOINT ["pgweir"]
CMD ["run", "-c", "/etc/pgweir/pgweir.yaml"]
